def begin(state):
    return {"question": "one?", "done": False}


def step(state):
    return {"question": "two?", "done": state["answer"] == "stop"}
