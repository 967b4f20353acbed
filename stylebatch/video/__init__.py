"""Films. The one room that knows PyAV."""

from stylebatch.video.job import VideoSummary, clips_and_output, stylize_video
from stylebatch.video.options import VideoOptions
from stylebatch.video.sink import VideoSink
from stylebatch.video.source import VideoSource

__all__ = ["VideoOptions", "VideoSink", "VideoSource", "VideoSummary", "clips_and_output", "stylize_video"]
