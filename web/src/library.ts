// The caller's videos, followed live over one server stream.
import type { Client } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { VideoService, Video, WatchVideosResponse } from "./gen/reelmill/upload/v1/video_pb";
import { backoff, sleep } from "./wait";

/** How the stream stands. */
export type Link = "connecting" | "live" | "lost";

/** A stream that has lasted this long begins anew with the shortest pause. */
const HEALTHY_MILLIS = 10_000;

export interface LibraryEvents {
  changed(video: Video): void;
  deleted(name: string): void;
  link(state: Link): void;
}

export class Library {
  readonly videos = new Map<string, Video>();

  #service: Client<typeof VideoService>;
  #events: LibraryEvents;
  #revision = 0n;

  constructor(service: Client<typeof VideoService>, events: LibraryEvents) {
    this.#service = service;
    this.#events = events;
  }

  /**
   * Follows until `signal` aborts. A broken stream is opened again from the last revision seen.
   * `renew` is asked for a new access token when the server no longer takes the old one; false ends it.
   */
  async follow(signal: AbortSignal, renew: () => Promise<boolean>): Promise<void> {
    let attempt = 0;
    this.#events.link("connecting");
    while (!signal.aborted) {
      const nudge = nudged(signal);
      const begun = performance.now();
      try {
        const changes = this.#service.watchVideos({ revision: this.#revision }, { signal: nudge.signal });
        for await (const change of changes) this.#apply(change);
      } catch (error) {
        if (signal.aborted) return;
        const refused = ConnectError.from(error).code === Code.Unauthenticated;
        if (refused && !(await renew())) return;
      } finally {
        nudge.release();
      }
      if (signal.aborted) return;
      this.#events.link("lost");
      // A stream that breaks soon after its first message is no sign of health.
      attempt = performance.now() - begun > HEALTHY_MILLIS ? 1 : attempt + 1;
      await sleep(backoff(attempt, 400, 8000), signal).catch(() => {});
    }
  }

  /** Takes a video that another call returned, unless the stream has brought a newer one. */
  put(video: Video): void {
    const known = this.videos.get(video.name);
    if (known && known.revision > video.revision) return;
    this.videos.set(video.name, video);
    this.#events.changed(video);
  }

  remove(name: string): void {
    if (this.videos.delete(name)) this.#events.deleted(name);
  }

  #apply({ change }: WatchVideosResponse): void {
    switch (change.case) {
      case "video":
        if (change.value.revision > this.#revision) this.#revision = change.value.revision;
        this.put(change.value);
        break;
      case "deleted":
        this.remove(change.value);
        break;
      case "caughtUp":
        this.#events.link("live");
        break;
    }
  }
}

/**
 * A signal that aborts with `outer`, and when the machine wakes or the network is back: a stream
 * from before then is often dead without anyone having said so.
 */
function nudged(outer: AbortSignal): { signal: AbortSignal; release: () => void } {
  const inner = new AbortController();
  const abort = () => inner.abort();
  let hiddenAt = document.hidden ? Date.now() : 0;
  const seen = () => {
    if (document.hidden) hiddenAt = Date.now();
    else if (hiddenAt > 0 && Date.now() - hiddenAt > 60_000) abort();
  };
  outer.addEventListener("abort", abort);
  window.addEventListener("online", abort);
  document.addEventListener("visibilitychange", seen);
  return {
    signal: inner.signal,
    release: () => {
      outer.removeEventListener("abort", abort);
      window.removeEventListener("online", abort);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
