// SPDX-License-Identifier: Apache-2.0
// Node's own HTTP stacks against a monitor: node client.mjs SOCKET DIRECTORY
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";

const [socketPath, directory] = process.argv.slice(2);

function send(method, path, body, options = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, path, method, ...options }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({
        status: answer.statusCode,
        headers: answer.headers,
        body: Buffer.concat(parts).toString(),
        reused: request.reusedSocket,
      }));
    });
    request.on("error", reject);
    for (const part of [].concat(body ?? [])) request.write(part);
    request.end();
  });
}

async function putsWithoutALengthAreChunkedAndRead() {
  const answer = await send("PUT", "/machine-config", ['{"vcpu_count":2,', '"mem_size_mib":256}'],
    { headers: { "Content-Type": "application/json" } });
  assert.equal(answer.status, 204);
  assert.equal(answer.body, "");
  const config = JSON.parse((await send("GET", "/machine-config")).body);
  assert.deepEqual([config.vcpu_count, config.mem_size_mib], [2, 256]);
}

async function putsWithALengthAreRead() {
  const body = '{"a":1}';
  const answer = await send("PUT", "/mmds", body, { headers: { "Content-Length": body.length } });
  assert.equal(answer.status, 204);
  assert.equal((await send("GET", "/mmds")).body, body);
}

async function aGetMayNameAType() {
  const answer = await send("GET", "/version", null,
    { headers: { "Content-Type": "application/json", Accept: "application/json, text/plain, */*" } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(answer.body), { firecracker_version: "1.16.0" });
}

async function faultsAreJSON() {
  const answer = await send("PUT", "/actions", '{"action_type":"FlushMetrics"}');
  assert.equal(answer.status, 400);
  assert.equal(JSON.parse(answer.body).fault_message,
    "The requested operation is not supported before starting the microVM.");
}

async function anAgentKeepsItsConnection() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const first = await send("GET", "/version", null, { agent });
  const second = await send("PUT", "/mmds", '{"b":2}', { agent });
  const third = await send("GET", "/mmds", null, { agent });
  agent.destroy();
  assert.deepEqual([first.reused, second.reused, third.reused], [false, true, true]);
  assert.equal(third.body, '{"b":2}');
}

async function withoutAnAgentTheConnectionIsClosedAsAsked() {
  const answer = await send("GET", "/version", null, { agent: false, headers: { Connection: "close" } });
  assert.equal(answer.headers.connection, "close");
}

async function aBodyIsHeldBackUntilTheServerWantsIt() {
  const body = '{"c":3}';
  const status = await new Promise((resolve, reject) => {
    let continued = false;
    const request = http.request({ socketPath, path: "/mmds", method: "PUT",
      headers: { Expect: "100-continue", "Content-Length": body.length } },
      (answer) => { answer.resume(); resolve([continued, answer.statusCode]); });
    request.on("continue", () => { continued = true; request.end(body); });
    request.on("error", reject);
    request.flushHeaders();
  });
  assert.deepEqual(status, [true, 204]);
}

async function manyRequestsAtOnceShareAFewConnections() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const answers = await Promise.all(Array.from({ length: 200 },
    () => send("GET", "/version", null, { agent })));
  agent.destroy();
  assert.ok(answers.every((answer) => answer.status === 200));
}

// fetch() has undici inside. Its Agent is not exported, but is the class of the global dispatcher.
async function fetchWorksOverTheSocket() {
  if (typeof fetch !== "function") return "no fetch in this Node";
  await fetch("data:,").catch(() => {});
  const global = globalThis[Symbol.for("undici.globalDispatcher.1")];
  if (!global) return "no dispatcher in this Node";
  const dispatcher = new global.constructor({ connect: { socketPath } });
  const put = await fetch("http://localhost/mmds",
    { method: "PUT", body: '{"d":4}', headers: { "content-type": "application/json" }, dispatcher });
  assert.equal(put.status, 204);
  const get = await fetch("http://localhost/mmds", { dispatcher });
  assert.deepEqual(await get.json(), { d: 4 });
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"e":'));
      controller.enqueue(new TextEncoder().encode("5}"));
      controller.close();
    },
  });
  const chunked = await fetch("http://localhost/mmds",
    { method: "PUT", body: stream, duplex: "half", dispatcher });
  assert.equal(chunked.status, 204);
  const fault = await fetch("http://localhost/nope", { dispatcher });
  assert.equal(fault.status, 400);
  assert.match((await fault.json()).fault_message, /^Invalid request method and\/or path: GET nope\./);
  await dispatcher.close();
}

async function aMachineIsConfiguredAndStarted() {
  fs.writeFileSync(`${directory}/kernel`, "kernel");
  fs.writeFileSync(`${directory}/disk`, Buffer.alloc(4096));
  const steps = [
    ["/boot-source", { kernel_image_path: `${directory}/kernel`, boot_args: "console=ttyS0" }],
    ["/drives/rootfs", { drive_id: "rootfs", path_on_host: `${directory}/disk`, is_root_device: true,
      is_read_only: false }],
    ["/vsock", { guest_cid: 3, uds_path: `${directory}/v.sock` }],
    ["/actions", { action_type: "InstanceStart" }],
  ];
  for (const [path, body] of steps)
    assert.equal((await send("PUT", path, JSON.stringify(body))).status, 204, path);
  assert.equal(JSON.parse((await send("GET", "/")).body).state, "Running");
  assert.equal((await send("PATCH", "/vm", '{"state":"Paused"}')).status, 204);
  assert.equal(JSON.parse((await send("GET", "/")).body).state, "Paused");
}

const tests = [putsWithoutALengthAreChunkedAndRead, putsWithALengthAreRead, aGetMayNameAType,
  faultsAreJSON, anAgentKeepsItsConnection, withoutAnAgentTheConnectionIsClosedAsAsked,
  aBodyIsHeldBackUntilTheServerWantsIt, manyRequestsAtOnceShareAFewConnections,
  fetchWorksOverTheSocket, aMachineIsConfiguredAndStarted];

let failed = 0;
for (const test of tests) {
  try {
    const skipped = await test();
    console.log(`${skipped ? "skip" : "ok"} ${test.name}${skipped ? `: ${skipped}` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${test.name}\n${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
