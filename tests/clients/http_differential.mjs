// SPDX-License-Identifier: Apache-2.0
//
// Our request parser against Node's: some thousand generated messages, well-formed and damaged,
// go to both, and they have to agree on method, path, body, and whether the message is accepted.
// Where they do not, a rule of the table below has to say why; a difference without a rule fails,
// and so does, in the usual run, a rule that nothing falls under (an optional one is for some
// versions of Node). Node's side is http.createServer() on a Unix socket, ours is http_driver.c.
//
//	node tests/clients/http_differential.mjs [--seed N] [--count N] [--show RULE] [DRIVER]
//
// Without DRIVER it is compiled here, with sanitizers. Takes a few seconds; needs no packages.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const BODY_LIMIT = 51200;	// http_driver.c has the same
const LINE_MAX = 1024;

// ---- messages: strings of bytes ("latin1"), the same for the same seed

let seed = 1;

function random(below)	// mulberry32
{
	seed = (seed + 0x6d2b79f5) | 0;
	let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
	t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
	return ((t ^ (t >>> 14)) >>> 0) % below;
}

const chance = (percent) => random(100) < percent;
const pick = (list) => list[random(list.length)];
const text = (max, letters) => Array.from({ length: random(max + 1) }, () => pick(letters)).join("");
const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_";

function anyCase(name)
{
	const kind = random(4);
	return kind === 0 ? name.toLowerCase() : kind === 1 ? name.toUpperCase() : name;
}

function uri()
{
	const paths = ["/", "/version", "/vm/config", "/machine-config", "/drives/rootfs", "/actions",
		"//mmds//x/", "/" + text(20, LETTERS + "/?&=%.~"), "/" + text(200, LETTERS)];
	return chance(10) ? "http://localhost" + pick(["", ":80"]) + pick(paths) : pick(paths);
}

function headers()
{
	const known = [
		["Host", pick(["localhost", "[::1]", "2f746d702f736f636b:0", ""])],
		["User-Agent", pick(["curl/7.88.1", "node", "Go-http-client/1.1", text(60, LETTERS)])],
		["Accept", pick(["*/*", "application/json", "text/plain, */*;q=0.1"])],
		["Accept-Encoding", pick(["gzip", "gzip, deflate", "identity", "gzip, *;q=0.5"])],
		["Content-Type", pick(["application/json", "text/plain", "application/x-www-form-urlencoded"])],
		["Connection", pick(["keep-alive", "keep-alive", "keep-alive", "close"])],
		["X-" + text(10, LETTERS), text(pick([10, 300]), LETTERS + " \t,;:\"")],
		["sec-fetch-mode", "cors"],
	];
	return known.filter(() => chance(30));
}

function chunked(body)
{
	let out = "";
	for (let at = 0; at < body.length;) {
		const len = Math.min(body.length - at, 1 + random(pick([3, 40, 2000])));
		const size = len.toString(16);
		out += pick([size, size.toUpperCase(), "0" + size]);
		out += chance(15) ? pick([";a", ";a=b", ";a=\"b c\";d", ";n=1"]) : "";
		out += "\r\n" + body.slice(at, at + len) + "\r\n";
		at += len;
	}
	return out + "0\r\n" + (chance(15) ? "X-Trailer: " + text(9, LETTERS) + "\r\n" : "") + "\r\n";
}

function request()
{
	const method = pick(["GET", "GET", "PUT", "PUT", "PATCH", "DELETE"]);
	const lines = headers();
	let body = "";

	if (method === "PUT" || method === "PATCH" || chance(5)) {
		body = pick(["{}", "{\"vcpu_count\":2,\n\"smt\":false}", text(3000, LETTERS + "\r\n{}\":"),
			text(30, "\0\x01\x7f\x80\xff\r\n")]);
		if (chance(20))
			lines.push(["Expect", "100-continue"]);
		if (chance(40)) {
			lines.push(["Transfer-Encoding", "chunked"]);
			body = chunked(body);
		} else {
			lines.push(["Content-Length", String(body.length)]);
		}
		lines.sort(() => random(3) - 1);
	}
	return method + " " + uri() + " HTTP/1." + (chance(8) ? "0" : "1") + "\r\n" +
		lines.map(([name, value]) => anyCase(name) + ":" + pick([" ", " ", "", " \t"]) + value +
			  (chance(1) ? "\t" : pick(["", "", " "])) + "\r\n").join("") + "\r\n" + body;
}

const wellFormed = () => Array.from({ length: pick([1, 1, 2, 3]) }, request).join("");

// What real requests come to when something is wrong with their sender.
const HEADER_LINES = ["Content-Length: 2", "Content-Length: 0", "content-length:+3", "Content-Length: -1",
	"Content-Length: 4294967296", "Content-Length: 3, 3", "Content-Length:", "Content-Length: 0x2",
	"Content-Length: 51201", "Content-Length: 99999999999999999999", "Content-Length : 2",
	"Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked",
	"Transfer-Encoding: identity", "transfer-encoding: Chunked", "Transfer-Encoding: xchunked",
	"Transfer-Encoding: chunked, gzip", "Transfer-Encoding : chunked",
	"Accept-Encoding: identity;q=0", "Accept-Encoding:", "Accept-Encoding: *;q=0",
	"Expect: 103-checkpoint", "Expect: 100-Continue", "No colon", " Folded: x", " folded", ":", "X y: z",
	"X: \xff", "X: \xc3\xa4", "\xc3\xa4: x", "\xc2\xa0Content-Length: 2", "X: \x01", "X:\x00", "Host: a",
	"X: " + "x".repeat(1019), "X: " + "x".repeat(1020), "X: " + "x".repeat(5000)];
const REQUEST_LINES = ["POST / HTTP/1.1", "HEAD / HTTP/1.1", "OPTIONS * HTTP/1.1", "get / HTTP/1.1",
	"GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /a b HTTP/1.1",
	"GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9", "GET / http/1.1", "GET /", "GET", "",
	"GET / HTTP/1.1\n", "GET /\xff HTTP/1.1", "GET /\xc3\xa4 HTTP/1.1", "GET version HTTP/1.1",
	"GET * HTTP/1.1", "GET https://h/x HTTP/1.1", "GET http:///x HTTP/1.1", "GET http://h HTTP/1.1",
	"GET /" + "x".repeat(1024 - 16) + " HTTP/1.1", "GET /" + "x".repeat(1024 - 15) + " HTTP/1.1",
	"GET /\x01 HTTP/1.1", "GET /\t HTTP/1.1", "MKCOL /a HTTP/1.1", "BREW /a HTTP/1.1"];

function damaged()
{
	let m = wellFormed();

	for (let n = pick([1, 1, 1, 2, 3]); n > 0; n--) {
		const at = random(m.length + 1);
		const line = m.indexOf("\r\n", chance(60) ? 0 : at);

		switch (random(12)) {
		case 0:		// a byte more, of those that mean something
			m = m.slice(0, at) + pick("\r\n \t:;\0\x0b\x7f\xff,0") + m.slice(at);
			break;
		case 1:		// a byte less
			m = m.slice(0, at) + m.slice(at + 1);
			break;
		case 2:		// another byte
			m = m.slice(0, at) + String.fromCharCode(random(256)) + m.slice(at + 1);
			break;
		case 3:		// an end too soon
			m = m.slice(0, at);
			break;
		case 4:		// a line end without CR, or without LF
			if (line >= 0)
				m = m.slice(0, line) + pick(["\n", "\r", "\r\r\n"]) + m.slice(line + 2);
			break;
		case 5:		// another request line
			m = pick(REQUEST_LINES) + m.slice(Math.max(m.indexOf("\r\n"), 0));
			break;
		case 6:		// something between two requests, or in front
			m = chance(50) ? pick(["\r\n", "\r\n\r\n", "\n", " ", "\0"]) + m :
				m + pick(["\r\n", "\n", "x", "GET"]) + (chance(50) ? wellFormed() : "");
			break;
		case 7: {	// a trailer more
			const last = m.indexOf("\r\n0\r\n");
			if (last >= 0)
				m = m.slice(0, last + 5) + pick(HEADER_LINES) + "\r\n" + m.slice(last + 5);
			break;
		}
		default:	// a line more
			if (line >= 0)
				m = m.slice(0, line + 2) + pick(HEADER_LINES) + "\r\n" + m.slice(line + 2);
		}
	}
	return m;
}

// ---- ours

function buildDriver(directory)
{
	const root = fileURLToPath(new URL("../..", import.meta.url));
	const driver = path.join(directory, "http_driver");
	const sources = ["tests/clients/http_driver.c", "src/http/request.c", "src/http/text.c",
		"src/base/buf.c"];

	execFileSync("cc", ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fsanitize=address,undefined",
		"-Isrc", "-Iinclude", "-o", driver, ...sources], { cwd: root, stdio: "inherit" });
	return driver;
}

function parseByUs(driver, messages)
{
	const input = Buffer.concat(messages.flatMap((m) => {
		const length = Buffer.alloc(4);
		length.writeUInt32LE(m.length);
		return [length, Buffer.from(m, "latin1")];
	}));
	const run = spawnSync(driver, { input, maxBuffer: 1 << 30, stdio: ["pipe", "pipe", "inherit"] });

	if (run.status !== 0)
		throw new Error(`${driver} failed: ${run.error ?? run.signal ?? run.status}`);
	return run.stdout.toString().trimEnd().split("\n").map((line) => {
		const result = JSON.parse(line);
		for (const r of result.requests)
			r.body = Buffer.from(r.body, "hex").toString("latin1");
		return result;
	});
}

// ---- Node's

class NodeParser {
	constructor(socketPath)
	{
		this.path = socketPath;
		this.server = http.createServer({ requireHostHeader: false, requestTimeout: 0,
			headersTimeout: 0, connectionsCheckingInterval: 1 << 30 });
		this.server.httpAllowHalfOpen = true;	// we send all and shut down
		const take = (req, res) => this.take(req, res);
		this.server.on("request", take).on("checkExpectation", take);
		this.server.on("checkContinue", (req, res) => {
			res.writeContinue();
			take(req, res);
		});
		this.server.on("connect", (req, socket) => {	// no body and no answer: count it
			this.result.requests.push({ method: "CONNECT", uri: req.url, body: "" });
			socket.destroy();
		});
		this.server.on("clientError", (error, socket) => {
			if (this.result.event === "idle") {
				this.result.event = error.code === "HPE_INVALID_EOF_STATE" ? "need_more" :
					"error";
				this.result.error = error.code;
			}
			socket.destroy();
		});
		this.server.on("connection", (socket) => socket.on("close", () => this.closed()));
	}

	async start()
	{
		await new Promise((done) => this.server.listen(this.path, done));
	}

	take(req, res)
	{
		const body = [];
		req.on("data", (data) => body.push(data));
		req.on("end", () => {
			this.result.requests.push({ method: req.method, body: Buffer.concat(body).toString("latin1"),
				uri: Buffer.from(req.url, "latin1").toString(), close: !res.shouldKeepAlive });
			res.writeHead(204).end();
		});
		req.on("error", () => {});
	}

	async parse(message)
	{
		const client = net.connect(this.path);

		this.result = { requests: [], event: "idle", error: "" };
		const closed = new Promise((done) => this.closed = done);
		client.on("error", () => {});
		client.resume();
		client.end(Buffer.from(message, "latin1"));
		await closed;
		client.destroy();
		return this.result;
	}
}

// ---- comparison

// The path of a request target as contract 1.3 has it.
function pathOf(target)
{
	if (target.startsWith("/"))
		return target;
	const absolute = /^http:\/\/[^/]*(\/.*)$/s.exec(target);
	return absolute ? absolute[1] : "";
}

const sameRequest = (a, b) => a.method === b.method && a.uri === pathOf(b.uri) && a.body === b.body;

// After a request that closes, the rest of the bytes is nobody's; Node never looks at it.
function untilClose(result)
{
	const at = result.requests.findIndex((r) => r.close);

	return at < 0 ? result :
		{ requests: result.requests.slice(0, at + 1), event: "idle", error: "" };
}

// Where the two differ: at the request of that index, or in how it ended. null: they agree.
function difference(message, ours, node)
{
	const o = untilClose(ours), n = untilClose(node);
	let i = 0;

	while (i < o.requests.length && i < n.requests.length && sameRequest(o.requests[i], n.requests[i]))
		i++;
	if (i === o.requests.length && i === n.requests.length && o.event === n.event)
		return null;
	const start = i > 0 ? ours.requests[i - 1].end : 0;
	const rest = message.slice(start);
	const headEnd = rest.indexOf("\r\n\r\n");
	const head = headEnd < 0 ? rest : rest.slice(0, headEnd + 2);
	const outcome = (result) => result.requests.length > i ? "took" : result.event;
	const error = (result) => outcome(result) === "error" ? result.error : "";
	return { message, index: i, before: ours.requests.slice(0, i),
		taken: message.slice(0, start), rest, head, headIsWhole: headEnd >= 0,
		lines: head.split("\r\n"), weTook: o.requests[i], nodeTook: n.requests[i],
		we: outcome(o), ourError: error(o), node: outcome(n), nodeError: error(n) };
}

// ---- rules: name (with the reason), and when a difference falls under it. The first that fits counts.

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const METHODS = ["GET", "PUT", "PATCH", "DELETE"];
const weWentOn = (d) => d.we === "took" || d.we === "need_more";
const nodeWentOn = (d) => d.node === "took" || d.node === "need_more";
const headerLines = (d) => d.lines.slice(1).filter((line) => line.includes(":"));
const nameOf = (line) => line.slice(0, line.indexOf(":"));
const values = (d, name) => headerLines(d).filter((line) => nameOf(line).trim().toLowerCase() === name)
	.map((line) => line.slice(line.indexOf(":") + 1));
const hasBare = (s) => /(^|[^\r])\n|\r([^\n]|$)/s.test(s);

const isChunked = (d, times) => values(d, "transfer-encoding")
	.filter((value) => value.trim().toLowerCase() === "chunked").length >= times;
// The names of the extensions and trailers of a chunked body, those of lines within its data too.
const chunkExtras = (d) => d.rest.slice(d.head.length).split("\r\n").flatMap((line) =>
	/^[0-9a-f]+;/i.test(line) ? line.split(";").slice(1).map((e) => e.split("=")[0]) :
		line.includes(":") ? [nameOf(line)] : []);

const RULES = [
	{ name: "HTTP/1.0: upstream keeps such connections open, Node closes them soon or late",
	  when: (d) => d.before.some((r) => r.minor === 0) && d.node === "idle" },
	{ name: "a tab behind \"close\": white space for us, Node does not see the close",
	  when: (d) => d.before.at(-1)?.close && d.we === "idle" && /\nconnection:[ \t]*close *\t/i.test(d.taken) },

	{ name: "empty lines in front of a request: Node skips them, micro_http refuses",
	  when: (d) => /^[\r\n]/.test(d.rest) && /^Invalid (request\.|HTTP Method)/.test(d.ourError) },
	{ name: "micro_http has four methods, Node all that are registered",
	  when: (d) => d.ourError.startsWith("Invalid HTTP Method") && nodeWentOn(d) &&
		!METHODS.includes(d.lines[0].split(" ")[0]) },
	{ name: "micro_http takes 1.0 and 1.1 only, Node other versions too",
	  when: (d) => d.ourError.startsWith("Invalid HTTP Version") && nodeWentOn(d) &&
		/ HTTP\/(0\.9|2\.0)$/.test(d.lines[0]) },
	{ name: "a request line without version is HTTP/0.9 to Node, nothing to micro_http",
	  when: (d) => d.ourError === "Invalid request." && nodeWentOn(d) && /^[A-Z]+ [^ ]+$/.test(d.lines[0]) },
	{ name: "more than one space in the request line: Node skips them, micro_http counts them",
	  when: (d) => /^Invalid (URI|HTTP Version)/.test(d.ourError) && nodeWentOn(d) &&
		/  | $/.test(d.lines[0]) },
	{ name: "a bare CR or LF ends no line for micro_http (contract 1.3); Node takes or refuses it",
	  when: (d) => hasBare(d.head) },
	{ name: "lines of more than 1024 bytes: micro_http refuses, Node counts the whole head",
	  when: (d) => /^Invalid (request\.|header\. Reason: Invalid content length\.)/.test(d.ourError) &&
		d.lines.some((line) => line.length + 2 > LINE_MAX) },
	{ name: "the same for chunk sizes and trailers",
	  when: (d) => d.ourError.includes("Key:Transfer-Encoding") && isChunked(d, 1) &&
		d.rest.slice(d.head.length).split("\r\n").some((line) => line.length + 2 > LINE_MAX) },
	{ name: "micro_http wants UTF-8, Node takes any byte from 0x80",
	  when: (d) => /utf-8|UTF-8/.test(d.ourError) },
	{ name: "micro_http takes any URI, of whatever characters and form; Node only what is valid",
	  when: (d) => weWentOn(d) && d.nodeError === "HPE_INVALID_URL" },
	{ name: "micro_http takes any header name and drops what it does not know; Node wants tokens",
	  when: (d) => weWentOn(d) && ["HPE_INVALID_HEADER_TOKEN", "HPE_UNEXPECTED_SPACE"].includes(d.nodeError) &&
		headerLines(d).some((line) => !TOKEN.test(nameOf(line))) },
	{ name: "micro_http takes control characters in a header's value",
	  when: (d) => weWentOn(d) && d.nodeError === "HPE_INVALID_HEADER_TOKEN" &&
		headerLines(d).some((line) => /[\0-\x08\x0a-\x1f\x7f]/.test(line)) },

	{ name: "Content-Length more than once: micro_http takes the last (contract 1.3)",
	  when: (d) => d.nodeError === "HPE_UNEXPECTED_CONTENT_LENGTH" && values(d, "content-length").length > 1 },
	{ name: "Content-Length with a plus sign, or white space other than spaces: a number for micro_http",
	  when: (d) => weWentOn(d) && d.nodeError === "HPE_INVALID_CONTENT_LENGTH" &&
		values(d, "content-length").some((value) => /^\s*\+?\d+\s*$/.test(value) && /[+\t\v\f]/.test(value)) },
	{ name: "Content-Length has 32 bits in micro_http",
	  when: (d) => d.ourError.includes("Key:Content-Length") && nodeWentOn(d) &&
		values(d, "content-length").some((value) => Number(value) > 0xffffffff) },
	{ name: "bodies over the limit are refused; Node has no limit",
	  when: (d) => d.ourError.startsWith("Request payload with size") &&
		values(d, "content-length").some((value) => Number(value) > BODY_LIMIT) },
	{ name: "Accept-Encoding that leaves no plain answer: refused by micro_http, no matter to Node's parser",
	  when: (d) => nodeWentOn(d) && (d.ourError.includes("Key:Accept-Encoding") ||
		(d.ourError === "Invalid request." && values(d, "accept-encoding").some((v) => !v.trim()))) },
	{ name: "Transfer-Encoding other than chunked: ignored as upstream does; Node refuses what it cannot frame",
	  when: (d) => weWentOn(d) &&
		["HPE_INVALID_TRANSFER_ENCODING", "HPE_INVALID_CONTENT_LENGTH",
		 "HPE_UNEXPECTED_CONTENT_LENGTH"].includes(d.nodeError) &&
		values(d, "transfer-encoding").some((value) => value.trim().toLowerCase() !== "chunked") },
	{ name: "chunked twice: the same as once for us, Node refuses it",
	  when: (d) => weWentOn(d) && d.nodeError === "HPE_INVALID_TRANSFER_ENCODING" && isChunked(d, 2) },
	{ name: "a tab behind \"chunked\": white space for us, part of the coding for Node",
	  when: (d) => weWentOn(d) && d.nodeError === "HPE_INVALID_TRANSFER_ENCODING" &&
		values(d, "transfer-encoding").some((value) => /chunked *\t/i.test(value)) },
	{ name: "chunked after another coding: refused by us, Node undoes the chunks only",
	  when: (d) => d.ourError.includes("Key:Transfer-Encoding") && nodeWentOn(d) &&
		values(d, "transfer-encoding").some((value) => /,\s*chunked/i.test(value)) },
	{ name: "a bare CR or LF in chunk lines: refused by us, taken by older parsers of Node's",
	  optional: true,
	  when: (d) => d.ourError.includes("Key:Transfer-Encoding") && nodeWentOn(d) && isChunked(d, 1) &&
		hasBare(d.rest.slice(d.head.length)) },
	{ name: "chunk extensions and trailers are dropped by us; Node reads them",
	  when: (d) => weWentOn(d) && isChunked(d, 1) &&
		["HPE_STRICT", "HPE_INVALID_HEADER_TOKEN", "HPE_INVALID_CONTENT_LENGTH",
			"HPE_INVALID_TRANSFER_ENCODING"].includes(d.nodeError) &&
		chunkExtras(d).some((name) => !TOKEN.test(name) ||
			/^(content-length|transfer-encoding)$/i.test(name)) },
	{ name: "Node refuses at the first wrong byte, we at the end of the line, which is to come",
	  when: (d) => d.we === "need_more" && d.node === "error" && (!d.headIsWhole || isChunked(d, 1)) },
];

function explain(d)
{
	return RULES.find((rule) => rule.when(d));
}

// ---- the program

const DEFAULTS = { seed: 1, count: 9000, show: null, driver: null };

function parseArguments(argv)
{
	const options = { ...DEFAULTS };

	for (let i = 0; i < argv.length; i++) {
		if (argv[i] === "--seed" || argv[i] === "--count")
			options[argv[i].slice(2)] = Number(argv[++i]);
		else if (argv[i] === "--show")
			options.show = argv[++i];
		else
			options.driver = argv[i];
	}
	return options;
}

const show = (d) => console.log(JSON.stringify({ message: d.message.slice(0, 3000), from: d.index,
	we: d.weTook ?? d.we, ourError: d.ourError, node: d.nodeTook ?? d.node,
	nodeError: d.nodeError }, null, 1));

async function main()
{
	const options = parseArguments(process.argv.slice(2));
	const directory = mkdtempSync(path.join(os.tmpdir(), "http-differential-"));
	const used = new Map(RULES.map((rule) => [rule.name, 0]));
	let same = 0, unexplained = 0;

	process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
	seed = options.seed;
	const messages = Array.from({ length: options.count }, (_, i) => i % 3 === 0 ? wellFormed() : damaged());
	const driver = options.driver ?? buildDriver(directory);
	const ours = parseByUs(path.resolve(driver), messages);
	const node = new NodeParser(path.join(directory, "node.sock"));

	await node.start();
	for (let i = 0; i < messages.length; i++) {
		const d = difference(messages[i], ours[i], await node.parse(messages[i]));
		const rule = d && explain(d);

		if (!d) {
			same++;
		} else if (rule) {
			used.set(rule.name, used.get(rule.name) + 1);
			if (options.show === rule.name)
				show(d);
		} else if (++unexplained <= 10) {
			console.log(`message ${i}: a difference no rule explains`);
			show(d);
		}
	}
	for (const [name, count] of used)
		console.log(`${String(count).padStart(6)}  ${name}`);
	console.log(`${messages.length} messages: ${same} the same, ` +
		`${messages.length - same - unexplained} by rule, ${unexplained} unexplained`);
	const isDefault = options.seed === DEFAULTS.seed && options.count === DEFAULTS.count;
	const optional = new Set(RULES.filter((rule) => rule.optional).map((rule) => rule.name));
	const stale = !isDefault ? [] : [...used].filter(([name, count]) => count === 0 && !optional.has(name))
		.map(([name]) => name);
	if (stale.length > 0)
		console.log(`rules that nothing falls under: ${stale.join("; ")}`);
	process.exit(unexplained > 0 || stale.length > 0 ? 1 : 0);
}

await main();
