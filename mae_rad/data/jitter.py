"""Display jitter: another window, another gamma, some noise. The draw is apart from the operation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHITE = 65535


@dataclass(frozen=True)
class Jitter:
    """One drawn jitter of display values scaled to [0, 1].

    Attributes:
        shift: of the window centre, in window widths.
        widen: factor on the window width.
        gamma: exponent.
        noise: standard deviation of the added noise.
    """

    shift: float = 0.0
    widen: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0

    @classmethod
    def draw(cls, strength: float, generator: np.random.Generator) -> "Jitter":
        """Draw with ``strength`` in [0, 1]; at 1 the window moves by up to a fifth and widens by up to a half."""
        shift, widen, gamma, noise = generator.uniform(-1, 1, 4) * strength
        return cls(0.2 * float(shift), 1.5 ** float(widen), 1.8 ** float(gamma), 0.02 * abs(float(noise)))

    def table(self, table: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Apply window and gamma to a display table: pointwise, so it costs the table and not the film."""
        values = table.astype(np.float32) / WHITE
        values = (values - 0.5 - np.float32(self.shift)) / np.float32(self.widen) + 0.5
        values = np.clip(values, 0, 1) ** np.float32(self.gamma)
        jittered: NDArray[np.uint16] = np.rint(values * WHITE).astype(np.uint16)
        return jittered

    def add_noise(self, values: NDArray[np.uint16], generator: np.random.Generator) -> NDArray[np.uint16]:
        """Add the noise to display values."""
        if self.noise == 0:
            return values
        noisy = values + generator.standard_normal(values.shape, dtype=np.float32) * np.float32(self.noise * WHITE)
        rounded: NDArray[np.uint16] = np.rint(np.clip(noisy, 0, WHITE)).astype(np.uint16)
        return rounded
