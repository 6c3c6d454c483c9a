import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorMessage, errorReason, isTransient } from "../src/errors";
import { rpcError } from "./rpc-error";

test("errorReason returns the reason of ErrorInfo, empty without one", () => {
  assert.equal(errorReason(rpcError(Code.AlreadyExists, "EMAIL_TAKEN")), "EMAIL_TAKEN");
  assert.equal(errorReason(new ConnectError("no details", Code.Internal)), "");
  assert.equal(errorReason(new Error("no status")), "");
});

test("errorReason returns an empty string for a malformed detail", () => {
  const error = new ConnectError("bad", Code.Internal);
  error.details.push({ type: "google.rpc.ErrorInfo", value: new Uint8Array([0x0a, 0xff]) });
  assert.equal(errorReason(error), "");
});

test("errorMessage returns a full sentence", () => {
  assert.equal(errorMessage(new ConnectError("no such video", Code.NotFound)), "No such video.");
  assert.equal(errorMessage(new ConnectError("Why?", Code.NotFound)), "Why?");
  assert.match(errorMessage(new ConnectError("", Code.Internal)), /rejected/);
  assert.match(errorMessage(ConnectError.from(new TypeError("Failed to fetch"))), /can't be reached/);
});

test("isTransient is true only for errors that a retry can resolve", () => {
  assert.ok(isTransient(new ConnectError("", Code.Unavailable)));
  assert.ok(isTransient(new ConnectError("", Code.ResourceExhausted)));
  assert.ok(isTransient(new TypeError("Failed to fetch")));
  assert.ok(!isTransient(new ConnectError("", Code.Unauthenticated)));
  assert.ok(!isTransient(new ConnectError("", Code.InvalidArgument)));
});
