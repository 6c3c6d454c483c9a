// The uploads this page is doing, and how fast they go.
import type { LocalUpload } from "./card";
import { FileUpload, type UploadContext } from "./upload";
import { sentenceOf } from "./errors";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";

/** Speed is measured over about this long: shorter jumps, longer lags. */
const WINDOW_MILLIS = 5000;

export interface UploadsEvents {
  /** An upload of this video began, went on or stopped. */
  changed(video: string): void;
  completed(video: Video): void;
  /** It failed before there was a video to show it on. */
  refused(file: File, message: string): void;
}

interface Running {
  upload: FileUpload;
  state: LocalUpload;
  samples: { at: number; bytes: number }[];
}

export class Uploads {
  #context: Omit<UploadContext, "events">;
  #events: UploadsEvents;
  #running = new Map<string, Running>();

  constructor(context: Omit<UploadContext, "events">, events: UploadsEvents) {
    this.#context = context;
    this.#events = events;
  }

  get(video: string): LocalUpload | undefined {
    return this.#running.get(video)?.state;
  }

  /** True while bytes are on their way: leaving the page would lose them. */
  get busy(): boolean {
    return [...this.#running.values()].some((running) => running.state.stopped === "");
  }

  start(file: File): void {
    const state = { sentBytes: 0, totalBytes: file.size, bytesPerSecond: 0, stopped: "" };
    const running: Running = {
      state,
      samples: [],
      upload: new FileUpload(file, {
        ...this.#context,
        events: {
          opened: (video) => {
            this.#running.set(video, running);
            this.#events.changed(video);
          },
          progress: (bytes) => {
            measure(running, bytes, performance.now());
            this.#events.changed(running.upload.video);
          },
        },
      }),
    };
    void this.#run(running);
  }

  resume(video: string): void {
    const running = this.#running.get(video);
    if (!running || running.state.stopped === "") return;
    running.state.stopped = "";
    running.samples = [];
    this.#events.changed(video);
    void this.#run(running);
  }

  /** Stops sending and forgets the upload. */
  cancel(video: string): void {
    this.#running.get(video)?.upload.cancel();
    this.#running.delete(video);
  }

  cancelAll(): void {
    for (const video of [...this.#running.keys()]) this.cancel(video);
  }

  async #run(running: Running): Promise<void> {
    const { upload } = running;
    try {
      const video = await upload.run();
      this.#running.delete(video.name);
      this.#events.completed(video);
    } catch (error) {
      if (upload.cancelled) return;
      const message = sentenceOf(error);
      if (!upload.video) return this.#events.refused(upload.file, message);
      running.state.stopped = `The upload stopped. ${message}`;
      this.#events.changed(upload.video);
    }
  }
}

function measure(running: Running, bytes: number, now: number): void {
  const { state, samples } = running;
  state.sentBytes = bytes;
  samples.push({ at: now, bytes });
  while (samples.length > 2 && now - (samples[1]?.at ?? now) > WINDOW_MILLIS) samples.shift();
  const first = samples[0];
  const seconds = first ? (now - first.at) / 1000 : 0;
  // A retried part takes its bytes back for a moment: no negative speed.
  if (first && seconds > 0.5) state.bytesPerSecond = Math.max(0, (bytes - first.bytes) / seconds);
}
