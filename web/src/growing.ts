// Videos that play while they are being encoded: what there is to play, and when the player needs another look.
import { Rendition_Kind, Rendition_State } from "./gen/reelmill/transcode/v1/rendition_pb";
import { Video_State, type Video } from "./gen/reelmill/upload/v1/video_pb";

/** What of one rendition can be played. */
export interface Shelf {
  id: string;
  isRung: boolean;
  width: number;
  height: number;
  range: string;
  /** Segments; infinite once it is whole. */
  segments: number;
}

/** What of a video can be played. */
export interface Stock {
  uri: string;
  /** All of it is there. */
  whole: boolean;
  shelves: Shelf[];
}

/** Where a player stands, seconds. */
export interface Standing {
  position: number;
  /** Length of a segment. */
  segment: number;
  /** Rungs that it knows. */
  levels: number;
}

/** Whether a video can be played now. */
export function isPlayable(video: Video): boolean {
  const mayPlay = video.state === Video_State.READY || video.state === Video_State.PROCESSING;
  return mayPlay && video.playable && video.playbackUri !== "";
}

export function stockOf(video: Video): Stock {
  const shelves = video.renditions.map((rendition) => ({
    id: rendition.renditionId,
    isRung: rendition.kind === Rendition_Kind.VIDEO || rendition.kind === Rendition_Kind.KIND_UNSPECIFIED,
    width: rendition.width,
    height: rendition.height,
    range: rendition.videoRange || "SDR",
    segments:
      rendition.state === Rendition_State.READY ? Infinity : Number(rendition.progress?.segmentsReady ?? 0n),
  }));
  return {
    uri: video.playbackUri,
    whole: video.state === Video_State.READY,
    shelves: shelves.filter((shelf) => shelf.segments > 0),
  };
}

/**
 * Whether a player that loaded its playlist when there was `loaded` should load it again: since the outputs moved,
 * since a rendition came that goes at least as far as it needs, or since all is there and it lacks something.
 */
export function needsReload(loaded: Stock, now: Stock, at: Standing): boolean {
  if (now.uri === "") return false;
  if (outputOf(now.uri) !== outputOf(loaded.uri)) return true;
  const known = new Set(loaded.shelves.map((shelf) => shelf.id));
  const fresh = now.shelves.filter((shelf) => !known.has(shelf.id));
  if (now.whole) {
    const rungs = now.shelves.filter((shelf) => shelf.isRung).length;
    return !loaded.whole && (fresh.length > 0 || at.levels < rungs);
  }
  // One that lags behind would leave the player waiting where it had something to play.
  const farthest = Math.max(0, ...now.shelves.filter((shelf) => known.has(shelf.id)).map((shelf) => shelf.segments));
  const enough = Math.min(Math.ceil(at.position / at.segment) + 2, farthest);
  return fresh.some((shelf) => shelf.segments >= enough);
}

/**
 * The address to load again: the same one where the outputs have not moved, since under another the browser would
 * not know the segments that it has.
 */
export function reloadUri(loaded: Stock, now: Stock): string {
  return outputOf(now.uri) === outputOf(loaded.uri) ? loaded.uri : now.uri;
}

/** The same outputs are signed anew for every answer: what names them stands behind the token. */
function outputOf(uri: string): string {
  const path = uri.split("/play/")[1] ?? uri;
  return path.slice(path.indexOf("/") + 1);
}

/** A rung as the player's engine names it. */
export interface Level {
  width: number;
  height: number;
  videoRange?: string;
}

/**
 * The highest level, of those sorted upwards, that goes on where `buffered` seconds end: to one that ends before, the
 * player would switch only to wait. Where all do, the one that goes farthest.
 */
export function levelCap(levels: Level[], now: Stock, segment: number, buffered: number): number {
  const reach = levels.map((level) => {
    const shelf = now.shelves.find(
      ({ width, height, range }) =>
        width === level.width && height === level.height && range === (level.videoRange ?? "SDR"),
    );
    // What is not known of is left to the player.
    return shelf ? shelf.segments * segment : Infinity;
  });
  // Segments are not equally long to the last frame.
  const enough = Math.min(buffered - segment / 4, Math.max(...reach));
  return reach.findLastIndex((seconds) => seconds >= enough);
}
