import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { Library } from "../src/library";
import { VideoService, type Video } from "../src/gen/reelmill/upload/v1/video_pb";
import { refusal } from "./refusal";

Object.assign(globalThis, {
  window: new EventTarget(),
  document: Object.assign(new EventTarget(), { hidden: false }),
});

type Change = { case: "video"; value: Pick<Video, "name" | "revision"> } | { case: "deleted"; value: string };

/** Each watch sends its part of `script` and breaks; the last one stays open. */
function watch(script: Change[][], refuseFirst = false) {
  const revisions: bigint[] = [];
  const events: string[] = [];
  const stop = new AbortController();
  let watches = 0;
  let renewals = 0;
  const transport = createRouterTransport(({ service }) => {
    service(VideoService, {
      async *watchVideos(request) {
        watches += 1;
        if (refuseFirst && watches === 1) throw refusal(Code.Unauthenticated, "ACCESS_TOKEN_EXPIRED");
        revisions.push(request.revision);
        for (const change of script[revisions.length - 1] ?? []) yield { change };
        if (revisions.length >= script.length) stop.abort();
        throw refusal(Code.Unavailable, "GOING_AWAY");
      },
    });
  });
  const library = new Library(createClient(VideoService, transport), {
    changed: (video) => events.push(`${video.name}@${video.revision}`),
    deleted: (name) => events.push(`-${name}`),
    link: () => {},
  });
  const done = library.follow(stop.signal, async () => {
    renewals += 1;
    return true;
  });
  return { library, revisions, events, done, renewals: () => renewals };
}

const video = (name: string, revision: bigint): Change => ({ case: "video", value: { name, revision } });

test("a broken watch is resumed from the highest revision seen", async () => {
  const first = [video("videos/a", 5n), video("videos/b", 3n)];
  const second: Change[] = [video("videos/b", 8n), { case: "deleted", value: "videos/a" }];
  const { library, revisions, events, done } = watch([first, second]);
  await done;
  assert.deepEqual(revisions, [0n, 5n]);
  assert.deepEqual(events, ["videos/a@5", "videos/b@3", "videos/b@8", "-videos/a"]);
  assert.deepEqual([...library.videos.keys()], ["videos/b"]);
});

test("an older state never replaces a newer one", async () => {
  const { library, events, done } = watch([[video("videos/a", 5n), video("videos/a", 4n)]]);
  await done;
  assert.deepEqual(events, ["videos/a@5"]);
  assert.equal(library.videos.get("videos/a")?.revision, 5n);
});

test("a stale token is renewed and the watch opened again", async () => {
  const { events, done, renewals } = watch([[video("videos/a", 1n)]], true);
  await done;
  assert.equal(renewals(), 1);
  assert.deepEqual(events, ["videos/a@1"]);
});
