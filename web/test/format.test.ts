import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, percent, size, timeLeft } from "../src/format";

test("clock formats playing time", () => {
  const cases: [number, string][] = [[0, "0:00"], [7.4, "0:07"], [59.6, "1:00"], [754, "12:34"], [3723, "1:02:03"]];
  for (const [seconds, text] of cases) assert.equal(clock(seconds), text);
});

test("size formats decimal units with at most three digits", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [1_500_000, "1.5 MB"],
    [999_600_000, "1.0 GB"],
    [23_000_000_000, "23 GB"],
    [5_497_558_138_880, "5.5 TB"],
  ];
  for (const [bytes, text] of cases) assert.equal(size(bytes), text);
});

test("timeLeft rounds to the precision of an estimate", () => {
  assert.equal(timeLeft(2), "a few seconds left");
  assert.equal(timeLeft(41), "about 45 s left");
  assert.equal(timeLeft(58), "about 1 min left");
  assert.equal(timeLeft(130), "about 2 min left");
  assert.equal(timeLeft(5400), "about 1.5 h left");
});

test("percent rounds down and stays within 0 and 100", () => {
  assert.equal(percent(99.99), "99%");
  assert.equal(percent(100), "100%");
  assert.equal(percent(-1), "0%");
  assert.equal(percent(250), "100%");
});
