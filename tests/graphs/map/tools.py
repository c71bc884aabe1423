def double(state):
    return {"doubled": state["thing"] * 2}
