// Playback during encoding: which segments of a video are available, and when the player must reload its playlist.
import { Rendition_Kind, Rendition_State } from "./gen/reelmill/transcode/v1/rendition_pb";
import { Video_State, type Video } from "./gen/reelmill/upload/v1/video_pb";

/** A rendition with at least one playable segment. */
export interface AvailableRendition {
  id: string;
  isRung: boolean;
  width: number;
  height: number;
  videoRange: string;
  /** Number of playable segments; Infinity once the rendition is complete. */
  segments: number;
}

/** What of a video can be played. */
export interface Availability {
  uri: string;
  /** All renditions are complete. */
  complete: boolean;
  renditions: AvailableRendition[];
}

/** State of a player. */
export interface PlayerState {
  /** Playback position, seconds. */
  position: number;
  /** Length of a segment, seconds. */
  segmentSeconds: number;
  /** Number of rungs in the playlist that it has loaded. */
  levels: number;
}

/** Whether a video can be played now. */
export function isPlayable(video: Video): boolean {
  const isPlayableState = video.state === Video_State.READY || video.state === Video_State.PROCESSING;
  return isPlayableState && video.playable && video.playbackUri !== "";
}

export function availabilityOf(video: Video): Availability {
  const renditions = video.renditions.map((rendition) => ({
    id: rendition.renditionId,
    isRung: rendition.kind === Rendition_Kind.VIDEO || rendition.kind === Rendition_Kind.KIND_UNSPECIFIED,
    width: rendition.width,
    height: rendition.height,
    videoRange: rendition.videoRange || "SDR",
    segments:
      rendition.state === Rendition_State.READY ? Infinity : Number(rendition.progress?.segmentsReady ?? 0n),
  }));
  return {
    uri: video.playbackUri,
    complete: video.state === Video_State.READY,
    renditions: renditions.filter((rendition) => rendition.segments > 0),
  };
}

/**
 * Whether a player that loaded its playlist at availability `loaded` must load it again: because the outputs moved,
 * because a rendition was added that reaches beyond the playback position, or because the video is complete and the
 * player lacks a rung.
 */
export function needsReload(loaded: Availability, current: Availability, player: PlayerState): boolean {
  if (current.uri === "") return false;
  if (outputPath(current.uri) !== outputPath(loaded.uri)) return true;
  const loadedIds = new Set(loaded.renditions.map((rendition) => rendition.id));
  const added = current.renditions.filter((rendition) => !loadedIds.has(rendition.id));
  if (current.complete) {
    const rungs = current.renditions.filter((rendition) => rendition.isRung).length;
    return !loaded.complete && (added.length > 0 || player.levels < rungs);
  }
  // Switching to a rendition that lags behind would stall the player although other segments are available.
  const known = current.renditions.filter((rendition) => loadedIds.has(rendition.id));
  const mostSegments = Math.max(0, ...known.map((rendition) => rendition.segments));
  const neededSegments = Math.min(Math.ceil(player.position / player.segmentSeconds) + 2, mostSegments);
  return added.some((rendition) => rendition.segments >= neededSegments);
}

/**
 * The URL for a reload. Unchanged while the outputs have not moved: under another URL the browser could not reuse the
 * segments in its cache.
 */
export function reloadUri(loaded: Availability, current: Availability): string {
  return outputPath(current.uri) === outputPath(loaded.uri) ? loaded.uri : current.uri;
}

/** The part of a playback URL that identifies the outputs. It follows the token, which differs in every response. */
function outputPath(uri: string): string {
  const path = uri.split("/play/")[1] ?? uri;
  return path.slice(path.indexOf("/") + 1);
}

/** A rung as hls.js describes it. */
export interface Level {
  width: number;
  height: number;
  videoRange?: string;
}

/**
 * Index of the highest level (levels are in ascending order) with segments beyond the end of the buffer, `buffered`
 * seconds: switching to a level that ends earlier would stall. If every level ends earlier, the longest one.
 */
export function levelCap(levels: Level[], current: Availability, segmentSeconds: number, buffered: number): number {
  const ends = levels.map((level) => {
    const found = current.renditions.find(
      ({ width, height, videoRange }) =>
        width === level.width && height === level.height && videoRange === (level.videoRange ?? "SDR"),
    );
    // A level without a known rendition is not restricted.
    return found ? found.segments * segmentSeconds : Infinity;
  });
  // Segment durations vary by some frames: a quarter of a segment is the tolerance.
  const neededEnd = Math.min(buffered - segmentSeconds / 4, Math.max(...ends));
  return ends.findLastIndex((end) => end >= neededEnd);
}
