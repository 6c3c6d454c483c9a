import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Rendition_Kind, Rendition_State, type RenditionSchema } from "../src/gen/reelmill/transcode/v1/rendition_pb";
import { VideoSchema, Video_State } from "../src/gen/reelmill/upload/v1/video_pb";
import { type Availability, availabilityOf, isPlayable, levelCap, needsReload, reloadUri } from "../src/availability";

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

const AUDIO: Init = { renditionId: "audio-0", kind: Rendition_Kind.AUDIO, state: Rendition_State.READY };

function available(
  renditions: Init[],
  state = Video_State.PROCESSING,
  path = "j1/master.m3u8",
  token = "t",
): Availability {
  const playbackUri = `https://h/play/${token}/${path}`;
  return availabilityOf(create(VideoSchema, { state, playable: true, playbackUri, renditions }));
}

const playerAt = (position: number, levels = 1) => ({ position, segmentSeconds: 4, levels });

test("isPlayable is true from the first segments on and false after a failure", () => {
  const video = (state: Video_State, playable: boolean, playbackUri = "https://h/play/t/master.m3u8") =>
    create(VideoSchema, { state, playable, playbackUri });
  assert.ok(isPlayable(video(Video_State.PROCESSING, true)));
  assert.ok(isPlayable(video(Video_State.READY, true)));
  assert.ok(!isPlayable(video(Video_State.PROCESSING, false)));
  assert.ok(!isPlayable(video(Video_State.PROCESSING, true, "")));
  assert.ok(!isPlayable(video(Video_State.FAILED, true)));
});

test("availabilityOf lists renditions with segments, complete ones without limit", () => {
  const { renditions } = available([rung(720, 0), rung(360, 3), rung(240, 0, Rendition_State.READY), AUDIO]);
  assert.deepEqual(
    renditions.map(({ id, segments, isRung }) => [id, segments, isRung]),
    [["360p", 3, true], ["240p", Infinity, true], ["audio-0", Infinity, false]],
  );
});

test("needsReload is true when an added rung reaches beyond the playback position", () => {
  const loaded = available([rung(360, 2)]);
  assert.ok(!needsReload(loaded, available([rung(360, 50)]), playerAt(3)), "only segments were added");
  assert.ok(!needsReload(loaded, available([rung(360, 50), rung(720, 2)]), playerAt(9)), "it ends at the playback position");
  assert.ok(needsReload(loaded, available([rung(360, 50), rung(720, 5)]), playerAt(9)));
  // The player is stalled at the available end: a rung of the same length is enough.
  assert.ok(needsReload(loaded, available([rung(360, 3), rung(720, 3)]), playerAt(12)));
  const both = available([rung(360, 50), rung(720, 5)]);
  assert.ok(!needsReload(both, available([rung(360, 60), rung(720, 15)]), playerAt(9)), "both rungs are in the loaded playlist");
});

test("needsReload of a complete video is true only if the player lacks a rendition", () => {
  const READY = Rendition_State.READY;
  const complete = available([rung(360, 0, READY), rung(720, 0, READY)], Video_State.READY);
  assert.ok(needsReload(available([rung(360, 5)]), complete, playerAt(3)), "a rung is missing");
  const both = available([rung(360, 9), rung(720, 9)]);
  assert.ok(!needsReload(both, complete, playerAt(3, 2)));
  assert.ok(needsReload(both, complete, playerAt(3, 1)), "the playlist was older than the progress");
  assert.ok(!needsReload(complete, complete, playerAt(3, 1)), "one reload is enough");
});

test("needsReload is true when the outputs move and false for a new signature", () => {
  const loaded = available([rung(360, 5)]);
  const resigned = available([rung(360, 5)], undefined, undefined, "u");
  assert.ok(!needsReload(loaded, resigned, playerAt(3)));
  assert.equal(reloadUri(loaded, resigned), "https://h/play/t/j1/master.m3u8");
  const moved = available([rung(360, 5)], undefined, "j2/master.m3u8", "u");
  assert.ok(needsReload(loaded, moved, playerAt(3)));
  assert.equal(reloadUri(loaded, moved), "https://h/play/u/j2/master.m3u8");
  assert.ok(!needsReload(loaded, { ...loaded, uri: "" }, playerAt(3)), "no playlist to load");
});

test("levelCap excludes rungs that end before the buffer does", () => {
  const levels = [360, 480, 720].map((height) => ({ width: (height * 16) / 9, height, videoRange: "SDR" }));
  const of = (...segments: number[]) => available([360, 480, 720].map((height, index) => rung(height, segments[index] ?? 0)));
  assert.equal(levelCap(levels, of(5, 5, 5), 4, 20), 2);
  assert.equal(levelCap(levels, of(5, 5, 4), 4, 20), 1);
  assert.equal(levelCap(levels, of(5, 4, 4), 4, 20), 0);
  assert.equal(levelCap(levels, of(4, 4, 5), 4, 20), 2, "the lowest rung need not be the longest");
  assert.equal(levelCap(levels, of(2, 3, 1), 4, 20), 1, "progress can be older than what has been played");
  // Segment durations are not exact.
  assert.equal(levelCap(levels, of(5, 5, 5), 3.97, 20), 2);
  assert.equal(levelCap([{ width: 1, height: 1 }], of(1), 4, 20), 0);
  const hdr = { width: 1280, height: 720, videoRange: "PQ" };
  assert.equal(levelCap([...levels.slice(0, 2), hdr], of(5, 5, 1), 4, 20), 2, "a level without a known rendition is not restricted");
});
