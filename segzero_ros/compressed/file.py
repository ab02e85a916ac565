"""What is known of a picture file before it is decoded."""

from dataclasses import dataclass

from segzero_ros.errors import Code, RejectedInput

MAX_PASSED_PIXELS = 130_000_000  # pixels times passes: a progressive JPEG of 13 MP has ten scans
MAX_DECODER_BYTES = 146_000_000  # 35 MP as RGB, or 24 MP twice, where it is turned


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A JPEG or PNG by its headers.

    ``passes``: how often the decoder goes over the picture. ``decoder_bytes``: what it holds at a time, result
    included, once more where it is turned. ``has_exif``: that it may be. ``content``: the part that is to be decoded:
    without texts, and without what follows the end.
    """

    width: int
    height: int
    passes: int
    decoder_bytes: int
    content: memoryview
    has_exif: bool = False

    def check_cost(self, *, follow_exif: bool) -> None:
        """Raise ``RejectedInput`` IMAGE_SIZE for what takes the decoder longer, or more memory, than any picture."""
        if self.width * self.height * self.passes > MAX_PASSED_PIXELS:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got {self.width} x {self.height} in {self.passes} passes, want at most {MAX_PASSED_PIXELS} pixels "
                "in all passes; save it as a baseline JPEG",
            )
        turned = 3 * self.width * self.height if follow_exif and self.has_exif else 0
        if self.decoder_bytes + turned > MAX_DECODER_BYTES:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got {self.width} x {self.height} that take {self.decoder_bytes + turned} bytes to decode, want at "
                f"most {MAX_DECODER_BYTES}; save it as a baseline JPEG, turned as it is seen, or smaller",
            )


def unreadable(why: str) -> RejectedInput:
    """Return the refusal of a broken file, to be raised."""
    return RejectedInput(Code.IMAGE_UNREADABLE, f"got a picture that cannot be decoded: {why}; send the whole file")
