"""The rows of ``layers/likelihood_loss.py``."""

from __future__ import annotations

from ..layers import likelihood_loss
from .row import Layer
from .samples import IMAGES, INF, LOGITS, REDUCTIONS, case, distribution, given, index, positive, real, row_of

__all__ = ["ROWS"]

DIVERGENCE = (LOGITS, distribution(4, 3))
COUNTS = (LOGITS, positive(4, 3))
NORMAL = (LOGITS, LOGITS, positive(4, 3))

ROWS: tuple[Layer, ...] = (
    Layer(
        likelihood_loss.KLDivLoss,
        (likelihood_loss.KLDivLossFunction,),
        likelihood_loss.kl_div,
        (
            *(case(reduction=reduction, inputs=DIVERGENCE) for reduction in ("none", "sum", "batchmean")),
            *(
                case(log_target=True, reduction=reduction, inputs=(LOGITS, LOGITS))
                for reduction in ("none", "sum", "batchmean")
            ),
            case(reduction="none", inputs=(real(2, 3, 2), distribution(3, 1))),
            case(reduction="batchmean", inputs=(real(), positive())),
            case(reduction="sum", inputs=(real(0, 3), distribution(0, 3))),
        ),
        edges=(
            case(reduction="batchmean", inputs=(row_of(0.0, -1.0, -3.0), row_of(0.0, 1.0, 0.5))),
            case(reduction="sum", log_target=True, inputs=(row_of(0.0, -1.0), row_of(-INF, 0.0))),
        ),
        sizes=tuple(
            case(reduction="batchmean", inputs=(real(*shape), distribution(*shape)))
            for shape in ((128, 10), (256, 1000), (128, 32000))
        ),
        note="where the target is 0 its own gradient is minus infinity, the limit; torch's is NaN",
    ),
    Layer(
        likelihood_loss.PoissonNLLLoss,
        (likelihood_loss.PoissonNLLLossFunction,),
        likelihood_loss.poisson_nll_loss,
        (
            *(case(reduction=reduction, inputs=COUNTS) for reduction in REDUCTIONS),
            case(full=True, inputs=COUNTS),
            case(log_input=False, full=True, eps=0.1, inputs=(positive(4, 3), positive(4, 3))),
            case(log_input=False, reduction="none", inputs=(positive(2, 3, 2), index(3, 1, high=5))),
            case(inputs=(real(), positive())),
            case(reduction="sum", inputs=(real(0, 3), positive(0, 3))),
        ),
        edges=(
            case(full=True, inputs=(given(-1e3, 0.0, 1.0, -INF), given(0.0, 1.0, 2.0, 0.0))),
            case(log_input=False, reduction="none", inputs=(given(0.0, 1e-8, 2.0), given(0.0, 1.0, 2.0))),
        ),
        sizes=tuple(case(inputs=(real(*shape), index(*shape, high=5))) for shape in IMAGES),
        note="with full=True torch's gradient of a target 0 is NaN; here Stirling's term has none there",
    ),
    Layer(
        likelihood_loss.GaussianNLLLoss,
        (likelihood_loss.GaussianNLLLossFunction,),
        likelihood_loss.gaussian_nll_loss,
        (
            *(case(reduction=reduction, inputs=NORMAL) for reduction in REDUCTIONS),
            case(full=True, eps=0.1, inputs=(real(2, 3, 2), real(3, 2), positive(2, 3))),
            case(reduction="none", inputs=(real(2, 3), real(2, 3), positive(2, 1))),
            case(inputs=(LOGITS, LOGITS), forward={"var": 0.7}),
            case(inputs=(real(), real(), positive())),
            case(reduction="sum", inputs=(real(0, 3), real(0, 3), positive(0, 3))),
        ),
        edges=(
            case(eps=0.5, inputs=(given(0.0, 1.0, -1.0), given(1.0, 1.0, 1.0), given(0.0, 0.5, 0.7))),
            case(reduction="none", inputs=(given(0.0, 1.0, INF), given(1.0, 1.0, 0.0), given(0.0, INF, 1.0))),
        ),
        sizes=tuple(case(inputs=(real(*shape), real(*shape), positive(*shape))) for shape in IMAGES),
    ),
)
