// Headless Firefox, by WebDriver BiDi: Playwright wants a Firefox of its own.

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Bidi } from "./bidi.mjs";

export const PROGRAM = "/usr/bin/firefox-esr";
const LISTENING = /^WebDriver BiDi listening on (ws:\S+)$/;
const START_TIMEOUT = 50_000; // milliseconds
const CLOSE_TIMEOUT = 3_000;
// A process that has just ended may have children that still write.
const REMOVAL = { recursive: true, force: true, maxRetries: 10, retryDelay: 100 };

// Beside these, Firefox sets preferences of its own when it is driven: no updates, no telemetry, no first-run pages.
const PREFERENCES = {
  // Candidates on 127.0.0.1 too, for machines and peers that have nothing else.
  "media.peerconnection.ice.loopback": true,
  // Sounds and pictures need no gesture.
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  // A sound card made up: WebAudio runs by the clock of one, and headless machines have none.
  "media.cubeb.force_mock_context": true,
  // Nothing is slower because nobody looks at it.
  "dom.min_background_timeout_value": 4,
  "dom.timeout.enable_budget_timer_throttling": false,
  // Nobody is asked but loopback.
  "services.settings.server": "data:,#remote-settings-dummy/v1",
  "browser.chrome.site_icons": false,
  "media.gmp-manager.updateEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
};

async function start(preferences, ended) {
  const profile = await mkdtemp(join(tmpdir(), "rig-firefox-"));
  const lines = Object.entries(preferences).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`);
  await writeFile(join(profile, "user.js"), lines.join("\n"));
  const child = spawn(PROGRAM, ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile], {
    stdio: ["ignore", "ignore", "pipe"],
    // Without it, released versions keep to the server that they were built with.
    env: { ...process.env, MOZ_REMOTE_SETTINGS_DEVTOOLS: "1" },
  });
  const gone = new Promise((resolve) => child.once("exit", resolve)).then(() => rm(profile, REMOVAL));
  gone.then(ended);
  // Whatever ends this process leaves nothing behind.
  process.once("exit", () => {
    child.kill("SIGKILL");
    rmSync(profile, REMOVAL);
  });
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("Firefox does not start")), START_TIMEOUT);
    createInterface({ input: child.stderr }).on("line", (line) => {
      const [, found] = LISTENING.exec(line) ?? [];
      if (!found) return process.stderr.write(`firefox: ${line}\n`);
      clearTimeout(timer);
      resolve(`${found}/session`);
    });
    child.once("exit", (status) => reject(new Error(`Firefox has ended with ${status}`)));
  });
  return { child, gone, url };
}

/** See peer.mjs for what a browser and a page are. `mdns`: candidates have ".local" names instead of addresses. */
export async function launch({ origin, html, ended, mdns = false }) {
  const preferences = {
    ...PREFERENCES,
    // The browser tells all of its addresses only to pages that may use the microphone.
    "permissions.default.microphone": mdns ? 0 : 1,
    "media.peerconnection.ice.obfuscate_host_addresses": mdns,
  };
  const { child, gone, url } = await start(preferences, ended);
  const bidi = await Bidi.connect(url);
  const pages = new Map();
  bidi.on("script.message", ({ data, source }) => pages.get(source.context)?.report(JSON.parse(data.value)));
  bidi.on("log.entryAdded", ({ text, source }) => pages.get(source.context)?.log(text));
  bidi.on("network.beforeRequestSent", ({ request }) => {
    // No server is needed for the page, only an origin that counts as secure.
    const headers = [{ name: "Content-Type", value: { type: "string", value: "text/html" } }];
    const body = { type: "string", value: html };
    bidi.send("network.provideResponse", { request: request.request, statusCode: 200, headers, body }).catch(() => {});
  });
  // The certificate of the test server is self-made.
  await bidi.send("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
  await bidi.send("session.subscribe", {
    events: ["script.message", "log.entryAdded", "network.beforeRequestSent"],
  });
  await bidi.send("network.addIntercept", {
    phases: ["beforeRequestSent"],
    urlPatterns: [{ type: "string", pattern: `${origin}/` }],
  });

  async function newPage(script, { report, log }) {
    const { userContext } = await bidi.send("browser.createUserContext");
    // A window each: only what is seen is drawn at its full rate.
    const { context } = await bidi.send("browsingContext.create", { type: "window", userContext });
    pages.set(context, { report, log });
    await bidi.send("script.addPreloadScript", {
      functionDeclaration: "(channel) => { window.report = (message) => channel(JSON.stringify(message)); }",
      arguments: [{ type: "channel", value: { channel: "report" } }],
      contexts: [context],
    });
    await bidi.send("browsingContext.navigate", { context, url: `${origin}/`, wait: "complete" });

    async function run(expression) {
      const target = { context };
      const done = await bidi.send("script.evaluate", { expression, target, awaitPromise: true });
      if (done.type === "exception") throw new Error(done.exceptionDetails.text);
      return done.result.value;
    }

    async function evaluate(expression) {
      return JSON.parse(await run(`(async () => JSON.stringify((await (${expression})) ?? null))()`));
    }

    async function close() {
      await bidi.send("browser.removeUserContext", { userContext });
      pages.delete(context);
    }

    await run(script);
    return { evaluate, close };
  }

  async function close() {
    const timer = setTimeout(() => child.kill("SIGKILL"), CLOSE_TIMEOUT);
    await bidi.send("browser.close").catch(() => {});
    await gone;
    clearTimeout(timer);
  }

  return { newPage, close };
}
