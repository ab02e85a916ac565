"""What is known of a picture file before it is decoded."""

from dataclasses import dataclass

from segzero_ros.errors import Code, RejectedInput

MAX_PASSED_PIXELS = 130_000_000  # pixels times passes: a progressive JPEG of 13 MP has ten scans
MAX_DECODER_BYTES = 146_000_000  # a photo of 24 MP, of which OpenCV makes two copies


COPIED_RGB_BYTES = 6  # a pixel, decoded and copied to where Python can see it


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A JPEG or PNG by its headers.

    ``passes``: how often the decoder goes over the picture. ``decoder_bytes``: what it holds at a time, result
    included. ``content``: the part that is to be decoded: without texts, and without what follows the end.
    """

    width: int
    height: int
    passes: int
    decoder_bytes: int
    content: memoryview

    def check_cost(self) -> None:
        """Raise ``RejectedInput`` IMAGE_SIZE for what takes the decoder longer, or more memory, than any picture."""
        if self.width * self.height * self.passes > MAX_PASSED_PIXELS:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got {self.width} x {self.height} in {self.passes} passes, want at most {MAX_PASSED_PIXELS} pixels "
                "in all passes; save it as a baseline JPEG",
            )
        if self.decoder_bytes > MAX_DECODER_BYTES:
            raise RejectedInput(
                Code.IMAGE_SIZE,
                f"got {self.width} x {self.height} that take {self.decoder_bytes} bytes to decode, want at most "
                f"{MAX_DECODER_BYTES}; save it as a baseline JPEG or an 8-bit RGB PNG, or smaller",
            )


def unreadable(why: str) -> RejectedInput:
    """Return the refusal of a broken file, to be raised."""
    return RejectedInput(Code.IMAGE_UNREADABLE, f"got a picture that cannot be decoded: {why}; send the whole file")
