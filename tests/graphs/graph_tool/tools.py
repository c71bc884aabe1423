def shout(text: str) -> str:
    return text.upper()


def lengthen(state):
    return {"longer": f"{state['topic']} and more"}
