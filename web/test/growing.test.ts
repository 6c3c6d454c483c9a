import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Rendition_Kind, Rendition_State, type RenditionSchema } from "../src/gen/reelmill/transcode/v1/rendition_pb";
import { VideoSchema, Video_State } from "../src/gen/reelmill/upload/v1/video_pb";
import { isPlayable, levelCap, needsReload, reloadUri, type Stock, stockOf } from "../src/growing";

type Init = MessageInitShape<typeof RenditionSchema>;

function rung(height: number, segments: number, state = Rendition_State.ENCODING): Init {
  return {
    renditionId: `${height}p`,
    kind: Rendition_Kind.VIDEO,
    state,
    width: (height * 16) / 9,
    height,
    ...(state === Rendition_State.ENCODING ? { progress: { segmentsReady: BigInt(segments) } } : {}),
  };
}

const SOUND: Init = { renditionId: "audio-0", kind: Rendition_Kind.AUDIO, state: Rendition_State.READY };

function stock(renditions: Init[], state = Video_State.PROCESSING, path = "j1/master.m3u8", token = "t"): Stock {
  const playbackUri = `https://h/play/${token}/${path}`;
  return stockOf(create(VideoSchema, { state, playable: true, playbackUri, renditions }));
}

const at = (position: number, levels = 1) => ({ position, segment: 4, levels });

test("a video plays from its first segments on, and not once it has failed", () => {
  const video = (state: Video_State, playable: boolean, playbackUri = "https://h/play/t/master.m3u8") =>
    create(VideoSchema, { state, playable, playbackUri });
  assert.ok(isPlayable(video(Video_State.PROCESSING, true)));
  assert.ok(isPlayable(video(Video_State.READY, true)));
  assert.ok(!isPlayable(video(Video_State.PROCESSING, false)));
  assert.ok(!isPlayable(video(Video_State.PROCESSING, true, "")));
  assert.ok(!isPlayable(video(Video_State.FAILED, true)));
});

test("only what has segments is on the shelves, and what is done has all of them", () => {
  const { shelves } = stock([rung(720, 0), rung(360, 3), rung(240, 0, Rendition_State.READY), SOUND]);
  assert.deepEqual(
    shelves.map(({ id, segments, isRung }) => [id, segments, isRung]),
    [["360p", 3, true], ["240p", Infinity, true], ["audio-0", Infinity, false]],
  );
});

test("a playlist is loaded again when a rung comes that goes far enough", () => {
  const loaded = stock([rung(360, 2)]);
  assert.ok(!needsReload(loaded, stock([rung(360, 50)]), at(3)), "nothing but segments came");
  assert.ok(!needsReload(loaded, stock([rung(360, 50), rung(720, 2)]), at(9)), "it ends where the player is");
  assert.ok(needsReload(loaded, stock([rung(360, 50), rung(720, 5)]), at(9)));
  // The player waits at the end of what is ready: any rung as long is as good.
  assert.ok(needsReload(loaded, stock([rung(360, 3), rung(720, 3)]), at(12)));
  const both = stock([rung(360, 50), rung(720, 5)]);
  assert.ok(!needsReload(both, stock([rung(360, 60), rung(720, 15)]), at(9)), "it was loaded before");
});

test("a playlist is loaded again at the end only for what the player lacks", () => {
  const READY = Rendition_State.READY;
  const end = stock([rung(360, 0, READY), rung(720, 0, READY)], Video_State.READY);
  assert.ok(needsReload(stock([rung(360, 5)]), end, at(3)), "a rung is missing");
  const both = stock([rung(360, 9), rung(720, 9)]);
  assert.ok(!needsReload(both, end, at(3, 2)));
  assert.ok(needsReload(both, end, at(3, 1)), "the playlist was behind what was told");
  assert.ok(!needsReload(end, end, at(3, 1)), "once is enough");
});

test("outputs that moved are followed, and a new signature is no move", () => {
  const loaded = stock([rung(360, 5)]);
  const signedAnew = stock([rung(360, 5)], undefined, undefined, "u");
  assert.ok(!needsReload(loaded, signedAnew, at(3)));
  assert.equal(reloadUri(loaded, signedAnew), "https://h/play/t/j1/master.m3u8");
  const moved = stock([rung(360, 5)], undefined, "j2/master.m3u8", "u");
  assert.ok(needsReload(loaded, moved, at(3)));
  assert.equal(reloadUri(loaded, moved), "https://h/play/u/j2/master.m3u8");
  assert.ok(!needsReload(loaded, { ...loaded, uri: "" }, at(3)), "there is nothing to load");
});

test("the player does not switch to a rung that ends before its buffer does", () => {
  const levels = [360, 480, 720].map((height) => ({ width: (height * 16) / 9, height, videoRange: "SDR" }));
  const of = (...segments: number[]) => stock([360, 480, 720].map((height, index) => rung(height, segments[index] ?? 0)));
  assert.equal(levelCap(levels, of(5, 5, 5), 4, 20), 2);
  assert.equal(levelCap(levels, of(5, 5, 4), 4, 20), 1);
  assert.equal(levelCap(levels, of(5, 4, 4), 4, 20), 0);
  assert.equal(levelCap(levels, of(4, 4, 5), 4, 20), 2, "the lowest need not be the longest");
  assert.equal(levelCap(levels, of(2, 3, 1), 4, 20), 1, "what is told comes later than what is played");
  // Durations are not exact.
  assert.equal(levelCap(levels, of(5, 5, 5), 3.97, 20), 2);
  assert.equal(levelCap([{ width: 1, height: 1 }], of(1), 4, 20), 0);
  const hdr = { width: 1280, height: 720, videoRange: "PQ" };
  assert.equal(levelCap([...levels.slice(0, 2), hdr], of(5, 5, 1), 4, 20), 2, "another rung of that size");
});
