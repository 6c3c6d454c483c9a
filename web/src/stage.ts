// The stage: the one video that plays, from its first segments on.
import { byId, setText } from "./dom";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import { levelCap, needsReload, reloadUri, type Stock, stockOf } from "./growing";
import { type FreshUri, Player } from "./player";

/** Renditions come in quick succession: those that follow within this time come with the first. */
const SETTLE_MILLIS = 1000;
/** This close to the end of what is ready the player has reached it, seconds. */
const END = 1;

export class Stage {
  #element = byId("stage");
  #video = byId<HTMLVideoElement>("player");
  #title = byId("stage-title");
  #player: Player;
  #freshUri: (name: string) => FreshUri;
  #name = "";
  /** What there was when the playlist was loaded, and what there is now. */
  #loaded: Stock | undefined;
  #now: Stock | undefined;
  #settling: number | undefined;

  constructor(failed: (message: string) => void, freshUri: (name: string) => FreshUri) {
    this.#player = new Player(this.#video, byId<HTMLCanvasElement>("still"), failed);
    this.#freshUri = freshUri;
    for (const event of ["waiting", "seeking", "playing", "pause", "timeupdate", "emptied"]) {
      this.#video.addEventListener(event, () => this.#look());
    }
  }

  /** The name of the video that plays; empty where none does. */
  get name(): string {
    return this.#name;
  }

  play(video: Video): void {
    this.close();
    this.#name = video.name;
    this.#loaded = this.#now = stockOf(video);
    this.#element.dataset["name"] = video.name;
    setText(this.#title, video.displayName || "Untitled");
    this.#element.hidden = false;
    this.#element.scrollIntoView({ block: "nearest" });
    this.#title.focus({ preventScroll: true });
    this.#player.play(video.playbackUri, this.#freshUri(video.name));
    this.#look();
  }

  /** Takes in how far the video that plays is by now. */
  update(video: Video): void {
    if (video.name !== this.#name) return;
    this.#now = stockOf(video);
    this.#look();
  }

  close(): void {
    window.clearTimeout(this.#settling);
    this.#settling = undefined;
    this.#name = "";
    this.#loaded = this.#now = undefined;
    this.#player.stop();
    this.#element.hidden = true;
    for (const key of ["name", "growing", "waiting"]) delete this.#element.dataset[key];
  }

  #isBehind(): boolean {
    // Who has seen the end is left in peace; who begins anew is not at the end any more.
    if (!this.#loaded || !this.#now || this.#video.ended) return false;
    return needsReload(this.#loaded, this.#now, this.#player.standing);
  }

  #catchUp(): void {
    this.#settling = undefined;
    if (!this.#loaded || !this.#now || !this.#isBehind()) return;
    this.#loaded = { ...this.#now, uri: reloadUri(this.#loaded, this.#now) };
    this.#player.reload(this.#loaded.uri);
  }

  /**
   * Shows whether the end of what is ready is reached, keeps the player to rungs that go on from where it is, and
   * gives it others once there are any.
   */
  #look(): void {
    const now = this.#now;
    if (!now) return;
    if (this.#isBehind()) this.#settling ??= window.setTimeout(() => this.#catchUp(), SETTLE_MILLIS);
    this.#element.dataset["growing"] = String(!now.whole);
    const { readyState, paused, ended, currentTime, duration } = this.#video;
    const starved = !paused && !ended && readyState < 3;
    const atEnd = readyState === 0 || currentTime > duration - END;
    this.#element.dataset["waiting"] = String(!now.whole && starved && atEnd);
    const { segment } = this.#player.standing;
    const { buffered } = this.#player;
    this.#player.cap((levels) => (now.whole ? -1 : levelCap(levels, now, segment, buffered)));
  }
}
