// Draws the graph, and opens a node's prompt on a click.
const figure = document.getElementById("picture"), canvas = figure.querySelector(".canvas");
const dark = matchMedia("(prefers-color-scheme: dark)");
// The picture's n0, n1, ... are the list's first, second, ...
const links = Array.from(document.querySelectorAll("#nodes > li"), (one) => one.querySelector("a"));

function code() {
  const [fill, line, ink] = dark.matches ? ["#23403d", "#84cdc5", "#edeae3"] : ["#eaf3f2", "#1c5f5a", "#1f1e1b"];
  const plain = document.getElementById("drawing").textContent;
  return `${plain}\n\tclassDef default fill:${fill},stroke:${line},color:${ink},line-height:1.3\n\tclassDef first fill-opacity:0,stroke:${line},color:${ink}\n\tclassDef last fill-opacity:0,stroke:${line},color:${ink}\n`;
}

async function draw() {
  figure.dataset.state = "drawing";
  try {
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: dark.matches ? "dark" : "neutral", fontFamily: "system-ui, sans-serif",
      // A name is text, never HTML; and what cannot be drawn leaves nothing behind.
      htmlLabels: false, suppressErrorRendering: true, flowchart: { htmlLabels: false, curve: "linear" } });
    const { svg } = await mermaid.render("drawn", code());
    canvas.innerHTML = svg;
    // The server sends the marks in names as private characters, so that none is read as Mermaid's.
    const texts = document.createTreeWalker(canvas, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const now = texts.currentNode;
      now.data = now.data.replace(/[\uE000-\uE07F]/g, (mark) => String.fromCharCode(mark.charCodeAt(0) - 0xE000));
    }
    for (const node of canvas.querySelectorAll("g.node")) {
      const link = links[node.id.match(/-n(\d+)-\d+$/)?.[1]];
      if (!link) continue;
      node.classList.add("opens");
      node.addEventListener("click", () => link.click());
    }
    figure.dataset.state = "drawn";
  } catch {
    figure.dataset.state = "failed";
    figure.querySelector(".problem").hidden = false;
  }
}

dark.addEventListener("change", draw);
draw();
