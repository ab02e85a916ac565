"""Recordings that were cut, by kill -9 or a full disk, get the index that other programs want.

`segzero replay` reads a cut file as it is; Foxglove and rosbag2 look for the index at its end.
"""

import logging
import shutil
from pathlib import Path
from typing import Any, cast

from segzero_ros.errors import RejectedInput
from segzero_ros.pipeline import error_text
from segzero_ros.recorder.reader import Prefix, whole_length
from segzero_ros.recorder.sink import Sink
from segzero_ros.recorder.store import CHUNK_BYTES, KEEP_FREE_BYTES, is_in_use, recordings

PART = ".part"  # behind the name of a copy that is not whole yet
_log = logging.getLogger(__name__)


def finish_cut_files(folder: Path) -> list[Path]:
    """Write all whole records of each cut recording anew, with an index, in its place; returns which.

    One that another recorder writes, that cannot be read, or for which the disk has no room, stays as it is.
    """
    finished = []
    for path in recordings(folder):
        try:
            length, is_cut = whole_length(path)
            if is_cut and not is_in_use(path):
                _finish(path, length)
                finished.append(path)
        except (RejectedInput, OSError):
            continue
        except Exception as error:  # noqa: BLE001 - whatever a parser raises of damaged bytes: new ones are recorded all the same
            _log.warning("%s is damaged and stays as it is: %s", path, error_text(error))
    return finished


def _finish(path: Path, length: int) -> None:
    if shutil.disk_usage(path.parent).free < length + KEEP_FREE_BYTES:
        raise OSError("no room for a copy")
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    sink = Sink(part)
    try:
        with path.open("rb") as stream:
            _copy(Prefix(stream, length), sink)
        sink.sync()
        part.replace(path)
    finally:
        sink.close()
        part.unlink(missing_ok=True)


def _copy(stream: Prefix, sink: Sink) -> None:
    """Copy header, schemas, channels, messages and metadata; the writer makes chunks and index anew."""
    from mcap.exceptions import McapError
    from mcap.records import Channel, Header, Message, Metadata, Schema
    from mcap.stream_reader import StreamReader
    from mcap.writer import Writer

    writer: Any = Writer(cast(Any, sink), chunk_size=CHUNK_BYTES)
    schemas, channels = dict[int, int](), dict[int, int]()
    try:
        for item in StreamReader(cast(Any, stream)).records:
            if isinstance(item, Header):
                writer.start(profile=item.profile, library=item.library)
            elif isinstance(item, Schema) and item.id not in schemas:
                schemas[item.id] = writer.register_schema(item.name, item.encoding, item.data)
            elif isinstance(item, Channel) and item.id not in channels:
                schema, encoding = schemas[item.schema_id], item.message_encoding
                channels[item.id] = writer.register_channel(item.topic, encoding, schema, item.metadata)
            elif isinstance(item, Metadata):
                writer.add_metadata(item.name, item.metadata)
            elif isinstance(item, Message):
                id = channels[item.channel_id]
                writer.add_message(id, item.log_time, item.data, item.publish_time, item.sequence)
    except McapError:
        pass  # the end of what is whole
    writer.finish()
