// The panel with the player: plays one video, from its first segments on, while the rest is still being encoded.
import { type Availability, availabilityOf, levelCap, needsReload, reloadUri } from "./availability";
import { byId, setText } from "./dom";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import { Player, type RenewUri } from "./player";

/** Delay before a reload. Renditions often appear in quick succession; one reload covers them all. */
const RELOAD_DELAY_MILLIS = 1000;
/** Within this distance of the available end the player counts as having reached it, seconds. */
const END_TOLERANCE = 1;

export class PlayerPanel {
  #element = byId("player-panel");
  #video = byId<HTMLVideoElement>("player");
  #title = byId("player-title");
  #player: Player;
  #renewUri: (name: string) => RenewUri;
  #name = "";
  /** Availability when the playlist was loaded. */
  #loaded: Availability | undefined;
  /** Availability by the latest update. */
  #current: Availability | undefined;
  #reloadTimer: number | undefined;

  constructor(onError: (message: string) => void, renewUri: (name: string) => RenewUri) {
    this.#player = new Player(this.#video, byId<HTMLCanvasElement>("freeze-frame"), onError);
    this.#renewUri = renewUri;
    for (const event of ["waiting", "seeking", "playing", "pause", "timeupdate", "emptied"]) {
      this.#video.addEventListener(event, () => this.#refresh());
    }
  }

  /** Resource name of the video that is open; empty while the panel is closed. */
  get name(): string {
    return this.#name;
  }

  play(video: Video): void {
    this.close();
    this.#name = video.name;
    this.#loaded = this.#current = availabilityOf(video);
    this.#element.dataset["name"] = video.name;
    setText(this.#title, video.displayName || "Untitled");
    this.#element.hidden = false;
    this.#element.scrollIntoView({ block: "nearest" });
    this.#title.focus({ preventScroll: true });
    this.#player.play(video.playbackUri, this.#renewUri(video.name));
    this.#refresh();
  }

  /** Takes over the availability of the open video; ignores other videos. */
  update(video: Video): void {
    if (video.name !== this.#name) return;
    this.#current = availabilityOf(video);
    this.#refresh();
  }

  close(): void {
    window.clearTimeout(this.#reloadTimer);
    this.#reloadTimer = undefined;
    this.#name = "";
    this.#loaded = this.#current = undefined;
    this.#player.stop();
    this.#element.hidden = true;
    for (const key of ["name", "incomplete", "waiting"]) delete this.#element.dataset[key];
  }

  #needsReload(): boolean {
    // No reload after the end has been played. A replay resets `ended`.
    if (!this.#loaded || !this.#current || this.#video.ended) return false;
    return needsReload(this.#loaded, this.#current, this.#player.state);
  }

  #reload(): void {
    this.#reloadTimer = undefined;
    if (!this.#loaded || !this.#current || !this.#needsReload()) return;
    this.#loaded = { ...this.#current, uri: reloadUri(this.#loaded, this.#current) };
    this.#player.reload(this.#loaded.uri);
  }

  /**
   * Schedules a reload where needed, shows whether playback waits for segments that are not encoded yet, and limits
   * the player to rungs with segments beyond its buffer.
   */
  #refresh(): void {
    const current = this.#current;
    if (!current) return;
    if (this.#needsReload()) this.#reloadTimer ??= window.setTimeout(() => this.#reload(), RELOAD_DELAY_MILLIS);
    this.#element.dataset["incomplete"] = String(!current.complete);
    const { readyState, paused, ended, currentTime, duration } = this.#video;
    const stalled = !paused && !ended && readyState < 3;
    const atEnd = readyState === 0 || currentTime > duration - END_TOLERANCE;
    this.#element.dataset["waiting"] = String(!current.complete && stalled && atEnd);
    const { segmentSeconds } = this.#player.state;
    const { buffered } = this.#player;
    this.#player.capLevel((levels) => (current.complete ? -1 : levelCap(levels, current, segmentSeconds, buffered)));
  }
}
