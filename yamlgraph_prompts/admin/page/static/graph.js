// Draws the graph, and opens a node's prompt on a click.
const figure = document.getElementById("picture"), canvas = figure.querySelector(".canvas");
const dark = matchMedia("(prefers-color-scheme: dark)");
const nodes = new Map(Array.from(document.querySelectorAll("#nodes li:has(a)"), (one) => [one.dataset.node, one.querySelector("a")]));

function code() {
  const [fill, line, ink] = dark.matches ? ["#23403d", "#84cdc5", "#edeae3"] : ["#eaf3f2", "#1c5f5a", "#1f1e1b"];
  const plain = document.getElementById("drawing").textContent
    .replace(/^\s*classDef .*$/gm, "").replaceAll("<p>__start__</p>", "Start").replaceAll("<p>__end__</p>", "End");
  return `${plain}\n\tclassDef default fill:${fill},stroke:${line},color:${ink},line-height:1.3\n\tclassDef first fill-opacity:0,stroke:${line},color:${ink}\n\tclassDef last fill-opacity:0,stroke:${line},color:${ink}\n`;
}

async function draw() {
  figure.dataset.state = "drawing";
  try {
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: dark.matches ? "dark" : "neutral", fontFamily: "system-ui, sans-serif" });
    const { svg } = await mermaid.render("drawn", code());
    canvas.innerHTML = svg;
    for (const node of canvas.querySelectorAll("g.node")) {
      const link = nodes.get(node.textContent.trim());
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
