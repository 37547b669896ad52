"""Emotion words, and where people put them: valence, arousal, dominance, each from −1 to 1.

Mean ratings of Russell & Mehrabian 1977, *Journal of Research in Personality* 11:273. Their list has no words for
relief and disappointment; "consoled" and "discouraged" stand for them, as in GAMYGDALA (Popescu, Broekens & van
Someren 2014).
"""

from __future__ import annotations

WORDS: dict[str, tuple[float, float, float]] = {
    "happy": (0.81, 0.51, 0.46),
    "joyful": (0.76, 0.48, 0.35),
    "excited": (0.62, 0.75, 0.38),
    "interested": (0.64, 0.51, 0.17),
    "hopeful": (0.51, 0.23, 0.14),
    "curious": (0.22, 0.62, -0.01),
    "surprised": (0.40, 0.67, -0.13),
    "relaxed": (0.68, -0.46, 0.06),
    "consoled": (0.29, -0.19, -0.28),
    "angry": (-0.51, 0.59, 0.25),
    "fearful": (-0.64, 0.60, -0.43),
    "distressed": (-0.61, 0.28, -0.36),
    "discouraged": (-0.61, -0.15, -0.29),
    "sad": (-0.63, -0.27, -0.33),
    "bored": (-0.65, -0.62, -0.33),
}

EMOTIONS: dict[str, str] = {
    "joy": "joyful",
    "anger": "angry",
    "fear": "fearful",
    "sadness": "sad",
    "relief": "consoled",
    "disappointment": "discouraged",
}
