// Errors as messages for the user and as the contract's stable reasons for the code.
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

const ERROR_INFO = "google.rpc.ErrorInfo";

export const SERVER_UNREACHABLE = "The server can't be reached. Try again in a moment.";

/** Stable reason of a failed call, such as `CREDENTIALS_WRONG`; empty if the server sent none. */
export function errorReason(error: unknown): string {
  if (!(error instanceof ConnectError)) return "";
  for (const detail of error.details) {
    if ("type" in detail && detail.type === ERROR_INFO) return firstString(detail.value);
  }
  return "";
}

/** A sentence for the user. It can quote the server: show it as text, never as markup. */
export function errorMessage(error: unknown): string {
  if (!(error instanceof ConnectError)) {
    return error instanceof Error ? error.message : String(error);
  }
  if (isUnreachable(error)) return SERVER_UNREACHABLE;
  const text = error.rawMessage.trim() || "The server rejected the request without giving a reason.";
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

/** Whether a retry can succeed: the call may not have arrived, or the server asked to be called later. */
export function isTransient(error: unknown): boolean {
  const code = ConnectError.from(error).code;
  return isUnreachable(error) || code === Code.ResourceExhausted || code === Code.DeadlineExceeded;
}

function isUnreachable(error: unknown): boolean {
  const { code, cause } = ConnectError.from(error);
  // Browsers report every network failure as a TypeError without details.
  return code === Code.Unavailable || cause instanceof TypeError || error instanceof TypeError;
}

/** Field 1 of an encoded message, a string: `reason` of ErrorInfo. */
function firstString(bytes: Uint8Array): string {
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1) return reader.string();
      reader.skip(wireType);
    }
  } catch {
    // A malformed detail must not hide the error itself.
  }
  return "";
}
