// A SIP peer made of JsSIP, or of a fork of it, in headless Chromium. It reads commands as JSON lines from standard input and writes
// replies and events as JSON lines to standard output; the SIP messages go to standard error.

import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";
const ORIGIN = "http://localhost";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  // Real addresses instead of ".local" names in candidates.
  // The page, which comes from no server, may connect to loopback.
  "--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks,LocalNetworkAccessChecksWebRTC",
  // Candidates on 127.0.0.1 too, for machines and peers that have nothing else.
  "--allow-loopback-in-peer-connection",
  // The certificate of the test server is self-made.
  "--ignore-certificate-errors",
];

// What a page may run: its first file, and the package that this gets when it asks for JsSIP.
const STACKS = {
  "jssip": ["page.js", "jssip"],
  "krivega-5": ["conference.js", "krivega-jssip-5"],
  "krivega-8": ["conference.js", "krivega-jssip-8"],
};

const pages = new Map();
const scripts = new Map();

function write(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function refuse(id, code, message) {
  write({ reply: id, ok: false, error: { code, message } });
}

async function bundle(entry, jssip) {
  const result = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    alias: { jssip },
    bundle: true,
    write: false,
    logLevel: "error",
  });
  return result.outputFiles[0].text;
}

function scriptOf(stack) {
  if (!scripts.has(stack)) scripts.set(stack, bundle(...STACKS[stack]));
  return scripts.get(stack);
}

async function newPage(browser, name, stack) {
  const script = await scriptOf(stack);
  const context = await browser.newContext();
  // The browser tells all of its addresses only to pages that may use the microphone.
  await context.grantPermissions(["microphone", "camera"], { origin: ORIGIN });
  const page = await context.newPage();
  page.on("console", (message) => process.stderr.write(`page ${name}: ${message.text()}\n`));
  page.on("pageerror", (error) => process.stderr.write(`page ${name}: ${error.stack}\n`));
  await page.exposeFunction("report", ({ trace, ...message }) => {
    if (trace) process.stderr.write(`page ${name} ${trace}\n`);
    else if ("event" in message) write({ event: message.event, page: name, ...message });
    else write(message);
  });
  // No server is needed for the page, only an origin that counts as secure.
  await page.route(`${ORIGIN}/*`, (route) =>
    route.fulfill({ contentType: "text/html", body: `<!doctype html><meta charset="utf-8"><title>${name}</title>` }),
  );
  await page.goto(`${ORIGIN}/`);
  await page.addScriptTag({ content: script });
  return { context, page };
}

async function perform(browser, command) {
  const { id, command: verb, page: name = "0", stack = "jssip" } = command;
  if (!(stack in STACKS)) return refuse(id, "no_stack", `there is no stack ${stack}`);
  if (verb === "open" && !pages.has(name)) pages.set(name, newPage(browser, name, stack));
  if (!pages.has(name)) return refuse(id, "no_page", `there is no page ${name}`);
  const { context, page } = await pages.get(name);
  if (verb === "evaluate") {
    return write({ reply: id, ok: true, result: (await page.evaluate(command.expression)) ?? null });
  }
  if (verb === "close") {
    pages.delete(name);
    await page.evaluate(() => window.leave());
    await context.close();
    return write({ reply: id, ok: true });
  }
  await page.evaluate((fields) => window.run(fields), command);
}

if (!existsSync(CHROMIUM)) {
  process.stderr.write(`there is no ${CHROMIUM}: run tests/interop/install-peers as root\n`);
  process.exit(1);
}
const [browser] = await Promise.all([
  chromium.launch({ executablePath: CHROMIUM, args: FLAGS, handleSIGINT: false, handleSIGTERM: false }),
  scriptOf("jssip"),
]);

let leaving = false;
async function leave(status) {
  if (leaving) return;
  leaving = true;
  await browser.close();
  process.exit(status);
}
process.on("SIGTERM", () => leave(0));
process.on("SIGINT", () => leave(0));
browser.on("disconnected", () => {
  if (!leaving) process.stderr.write("the browser has ended\n");
  leave(1);
});

const lines = createInterface({ input: process.stdin });
lines.on("close", () => leave(0));
lines.on("line", async (line) => {
  let command;
  try {
    command = JSON.parse(line);
  } catch (error) {
    return refuse(null, "bad_json", error.message);
  }
  if (command.command === "quit") {
    write({ reply: command.id, ok: true });
    return leave(0);
  }
  try {
    await perform(browser, command);
  } catch (error) {
    refuse(command.id, "exception", error.message);
  }
});
