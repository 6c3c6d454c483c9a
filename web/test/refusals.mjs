// Sends calls that are refused before their body is read, by Node's own clients; prints the answers as JSON.
// Arguments: URL of the gateway, URL of an object.
import http from "node:http";
import http2 from "node:http2";

const [gateway, object] = process.argv.slice(2);
const BODY = Buffer.alloc(4 << 20, "x");
const TIMES = 20;
const GET_VIDEO = "/reelmill.upload.v1.VideoService/GetVideo";
const CALLS = [
  { name: "bad token", path: GET_VIDEO, headers: { authorization: "Bearer bad" } },
  { name: "no token", path: GET_VIDEO, headers: {} },
  { name: "unknown method", path: "/a.b.C/D", headers: {} },
];

function overHttp1(url, method, headers) {
  return new Promise((resolve) => {
    const request = http.request(url, { method, headers: { ...headers, "content-length": BODY.length } });
    request.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve({ status: response.statusCode, grpc: response.headers["grpc-status"] }));
      response.on("error", (error) => resolve({ error: error.code ?? error.message }));
    });
    request.on("error", (error) => resolve({ error: error.code ?? error.message }));
    request.end(BODY);
  });
}

function overHttp2(session, path, headers) {
  return new Promise((resolve) => {
    const stream = session.request({ ":method": "POST", ":path": path, ...headers });
    let answer;
    stream.on("response", (response) => {
      answer = { status: response[":status"], grpc: response["grpc-status"] };
    });
    stream.resume();
    stream.on("error", (error) => resolve(answer ?? { error: error.code ?? error.message }));
    stream.on("close", () => resolve(answer ?? { error: "closed" }));
    stream.end(BODY);
  });
}

const answers = [];
const add = async (name, protocol, send) => {
  for (let time = 0; time < TIMES; time++) answers.push({ name, protocol, ...(await send()) });
};
for (const { name, path, headers } of CALLS) {
  const grpcWeb = { ...headers, "content-type": "application/grpc-web+proto" };
  await add(name, "HTTP/1.1", () => overHttp1(gateway + path, "POST", grpcWeb));
  const session = http2.connect(gateway);
  session.on("error", () => {});
  await add(name, "HTTP/2", () => overHttp2(session, path, { ...headers, "content-type": "application/grpc" }));
  session.close();
}
await add("object", "HTTP/1.1", () => overHttp1(object, "PUT", {}));
console.log(JSON.stringify(answers));
