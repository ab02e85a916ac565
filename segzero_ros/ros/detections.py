"""The answer as ``vision_msgs``, for robots that already speak it; imported only where that package is installed."""

from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose

from segzero_ros.msg import Instance, Segmentation


def detections_message(answer: Segmentation) -> Detection2DArray:
    """Convert an answer; an array without detections means that nothing was found."""
    found = [_detection(answer, instance) for instance in answer.instances]
    return Detection2DArray(header=answer.header, detections=found)


def _detection(answer: Segmentation, instance: Instance) -> Detection2D:
    """Convert one instance; its id is that of its track, empty (as Detection2D.msg wants) where there is none."""
    track = str(instance.track_id) if instance.track_id else ""
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = instance.label
    hypothesis.hypothesis.score = float(instance.score)
    hypothesis.pose.pose.position = instance.position
    box = BoundingBox2D(size_x=float(instance.x1 - instance.x0), size_y=float(instance.y1 - instance.y0))
    box.center.position.x = (instance.x0 + instance.x1) / 2
    box.center.position.y = (instance.y0 + instance.y1) / 2
    return Detection2D(header=answer.header, results=[hypothesis], bbox=box, id=track)
