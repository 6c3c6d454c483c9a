// The uploads that run in this page, with their progress and speed.
import { errorMessage } from "./errors";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import { FileUpload, type UploadContext } from "./upload";

/** Averaging window of the speed: a shorter one fluctuates, a longer one lags. */
const SPEED_WINDOW_MILLIS = 5000;

/** State of an upload that runs in this page. */
export interface LocalUpload {
  sentBytes: number;
  totalBytes: number;
  bytesPerSecond: number;
  /** Why the upload stopped; empty while it runs. */
  error: string;
}

export interface UploadsEvents {
  /** The upload of this video started, progressed or stopped. */
  changed(video: string): void;
  completed(video: Video): void;
  /** The upload failed before its video was created. */
  failed(file: File, message: string): void;
}

interface Running {
  upload: FileUpload;
  state: LocalUpload;
  samples: { timeMillis: number; bytes: number }[];
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

  /** Whether any upload is running. Leaving the page would interrupt it. */
  get busy(): boolean {
    return [...this.#running.values()].some((running) => running.state.error === "");
  }

  start(file: File): void {
    const state = { sentBytes: 0, totalBytes: file.size, bytesPerSecond: 0, error: "" };
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
    if (!running || running.state.error === "") return;
    running.state.error = "";
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
      const message = errorMessage(error);
      if (!upload.video) return this.#events.failed(upload.file, message);
      running.state.error = `The upload stopped. ${message}`;
      this.#events.changed(upload.video);
    }
  }
}

function measure(running: Running, bytes: number, now: number): void {
  const { state, samples } = running;
  state.sentBytes = bytes;
  samples.push({ timeMillis: now, bytes });
  while (samples.length > 2 && now - (samples[1]?.timeMillis ?? now) > SPEED_WINDOW_MILLIS) samples.shift();
  const first = samples[0];
  const seconds = first ? (now - first.timeMillis) / 1000 : 0;
  // A retried part subtracts its bytes again; the speed must not become negative.
  if (first && seconds > 0.5) state.bytesPerSecond = Math.max(0, (bytes - first.bytes) / seconds);
}
