import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { Library } from "../src/library";
import { VideoService, type Video } from "../src/gen/reelmill/upload/v1/video_pb";
import { rpcError } from "./rpc-error";

Object.assign(globalThis, {
  window: new EventTarget(),
  document: Object.assign(new EventTarget(), { hidden: false }),
});

type Change = { case: "video"; value: Pick<Video, "name" | "revision"> } | { case: "deleted"; value: string };

/** Each watch call sends its part of `script`, then fails; after the last part watching is aborted. */
function watch(script: Change[][], rejectFirst = false) {
  const revisions: bigint[] = [];
  const events: string[] = [];
  const stop = new AbortController();
  let watches = 0;
  let renewals = 0;
  const transport = createRouterTransport(({ service }) => {
    service(VideoService, {
      async *watchVideos(request) {
        watches += 1;
        if (rejectFirst && watches === 1) throw rpcError(Code.Unauthenticated, "ACCESS_TOKEN_EXPIRED");
        revisions.push(request.revision);
        for (const change of script[revisions.length - 1] ?? []) yield { change };
        if (revisions.length >= script.length) stop.abort();
        throw rpcError(Code.Unavailable, "SHUTTING_DOWN");
      },
    });
  });
  const library = new Library(createClient(VideoService, transport), {
    changed: (video) => events.push(`${video.name}@${video.revision}`),
    deleted: (name) => events.push(`-${name}`),
    connection: () => {},
  });
  const done = library.watch(stop.signal, async () => {
    renewals += 1;
    return true;
  });
  return { library, revisions, events, done, renewals: () => renewals };
}

const video = (name: string, revision: bigint): Change => ({ case: "video", value: { name, revision } });

test("watch reconnects from the highest revision seen", async () => {
  const first = [video("videos/a", 5n), video("videos/b", 3n)];
  const second: Change[] = [video("videos/b", 8n), { case: "deleted", value: "videos/a" }];
  const { library, revisions, events, done } = watch([first, second]);
  await done;
  assert.deepEqual(revisions, [0n, 5n]);
  assert.deepEqual(events, ["videos/a@5", "videos/b@3", "videos/b@8", "-videos/a"]);
  assert.deepEqual([...library.videos.keys()], ["videos/b"]);
});

test("watch ignores a revision older than the known one", async () => {
  const { library, events, done } = watch([[video("videos/a", 5n), video("videos/a", 4n)]]);
  await done;
  assert.deepEqual(events, ["videos/a@5"]);
  assert.equal(library.videos.get("videos/a")?.revision, 5n);
});

test("watch with an expired token renews it and reconnects", async () => {
  const { events, done, renewals } = watch([[video("videos/a", 1n)]], true);
  await done;
  assert.equal(renewals(), 1);
  assert.deepEqual(events, ["videos/a@1"]);
});
