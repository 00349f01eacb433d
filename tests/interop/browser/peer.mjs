// A SIP peer made of JsSIP, or of a fork of it, in a headless browser: `node peer.mjs [chromium | firefox | firefox-mdns]`.
// It reads commands as JSON lines from standard input and writes replies and events as JSON lines to standard output; the SIP
// messages go to standard error.

import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

// What may be the browser: its module, and options of the module's launch(). That resolves to an object with
//   newPage(script, { report, log }): a page of its own at `origin` that has run the script. Objects that the page gives to
//     window.report() come to `report`, and text of its console to `log`. Resolves to an object with
//       evaluate(expression): what the expression, or the promise that it is, comes to, as JSON can say it;
//       close();
//   close(): ends the browser.
// `ended` is called when the browser is gone, for whatever reason.
const BROWSERS = {
  "chromium": ["./chromium.mjs", {}],
  "firefox": ["./firefox.mjs", {}],
  "firefox-mdns": ["./firefox.mjs", { mdns: true }],
};
const PAGE = { origin: "http://localhost", html: '<!doctype html><meta charset="utf-8"><title>peer</title>' };

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
  return browser.newPage(await scriptOf(stack), {
    log: (text) => process.stderr.write(`page ${name}: ${text}\n`),
    report({ trace, ...message }) {
      if (trace) process.stderr.write(`page ${name} ${trace}\n`);
      else if ("event" in message) write({ event: message.event, page: name, ...message });
      else write(message);
    },
  });
}

async function perform(browser, command) {
  const { id, command: verb, page: name = "0", stack = "jssip" } = command;
  if (!(stack in STACKS)) return refuse(id, "no_stack", `there is no stack ${stack}`);
  if (verb === "open" && !pages.has(name)) pages.set(name, newPage(browser, name, stack));
  if (!pages.has(name)) return refuse(id, "no_page", `there is no page ${name}`);
  const page = await pages.get(name);
  if (verb === "evaluate") {
    return write({ reply: id, ok: true, result: (await page.evaluate(command.expression)) ?? null });
  }
  if (verb === "close") {
    pages.delete(name);
    await page.evaluate("window.leave()");
    await page.close();
    return write({ reply: id, ok: true });
  }
  await page.evaluate(`window.run(${JSON.stringify(command)})`);
}

const [module, options] = BROWSERS[process.argv[2] ?? "chromium"];
const { launch, PROGRAM } = await import(module);
if (!existsSync(PROGRAM)) {
  process.stderr.write(`there is no ${PROGRAM}: run tests/interop/install-peers as root\n`);
  process.exit(1);
}

let leaving = false;
function ended() {
  if (leaving) return;
  process.stderr.write("the browser has ended\n");
  process.exit(1);
}
const launching = launch({ ...PAGE, ended, ...options });

async function leave(status) {
  if (leaving) return;
  leaving = true;
  await (await launching).close();
  process.exit(status);
}
process.on("SIGTERM", () => leave(0));
process.on("SIGINT", () => leave(0));
const [browser] = await Promise.all([launching, scriptOf("jssip")]);
write({ event: "ready" });

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
