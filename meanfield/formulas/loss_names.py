"""What other packages call their losses, and what to write here instead."""

from __future__ import annotations

SQUARED = (
    'Its ½ mean square is "squared": ½(f-y)², averaged over n and summed over K. '
    "nn.MSELoss has no ½ and averages over K too, "
    'so its steps are those of dt = 2·lr·s²/(m K); or own it: mf.Loss("mse", lambda f, '
    "y: (f - y)*(f - y), "
    "lambda f, y: 2.0*(f - y), curvature=2.0)."
)
CLASSES = (
    'For classes it is "softmax", -log p_y of K >= 2 outputs: y (n,) holds the integers '
    "0 … K-1, and f the logits; one-hot rows "
    'are y.argmax(axis=1). For two classes and one output it is "logistic" with y = -1 and +1.'
)
BINARY = (
    'It is "logistic", log(1 + e^{-yf}) of the logit f, with labels -1 and +1: of labels '
    "0 and 1 pass 2*y - 1."
)
ABSOLUTE = (
    'There is no |f - y|; "huber" with δ = 1 is near, or own it: mf.Loss("l1", value, '
    "slope), plain functions of (f, y)."
)
HUBER = 'It is "huber" with δ = 1: ½r² up to |r| = 1, |r| - ½ beyond, summed over K.'
MARGIN = 'It is "hinge", max(0, 1 - yf), with labels -1 and +1.'

MEANS = {
    **dict.fromkeys(
        ("mse", "l2", "meansquarederror", "meansquared", "squarederror", "quadratic", "leastsquares", "sse"), SQUARED
    ),
    **dict.fromkeys(
        ("crossentropy", "categoricalcrossentropy", "sparsecategoricalcrossentropy", "softmaxcrossentropy", "xent", "nll", "ce",
         "softmaxcrossentropywithlogits", "softmaxcrossentropywithintegerlabels", "multinomial", "negativeloglikelihood"), CLASSES
    ),
    **dict.fromkeys(
        ("bce", "binarycrossentropy", "bcewithlogits", "binarycrossentropywithlogits", "sigmoidcrossentropy", "softmargin",
         "sigmoidbinarycrossentropy", "log", "logistics", "logit"), BINARY
    ),
    **dict.fromkeys(("mae", "l1", "meanabsoluteerror", "absolute", "absoluteerror", "meanabsolute"), ABSOLUTE),
    **dict.fromkeys(("smoothl1", "huberdelta"), HUBER),
    **dict.fromkeys(("hingeembedding", "svm", "margin", "maxmargin"), MARGIN),
}  # fmt: skip


def advice(name: object) -> str:
    """What to write for a loss that PyTorch, Keras, JAX or scikit-learn calls so; "" for names that
    nobody uses.

    A name, as "nn.MSELoss" or "cross_entropy", or the loss itself: a module's class, a function's
    name.
    """
    if not isinstance(name, str):
        name = getattr(name, "__name__", None) or type(name).__name__
    plain = name.rpartition(".")[2].lower()
    plain = "".join(letter for letter in plain if letter.isalnum())
    return MEANS.get(plain) or MEANS.get(plain.removesuffix("loss").removesuffix("error"), "")
