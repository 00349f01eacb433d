// Headless Chromium, by Playwright.

import { chromium } from "playwright-core";

export const PROGRAM = "/usr/bin/chromium";
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

/** See peer.mjs for what a browser and a page are. */
export async function launch({ origin, html, ended }) {
  const browser = await chromium.launch({
    executablePath: PROGRAM,
    args: FLAGS,
    handleSIGINT: false,
    handleSIGTERM: false,
  });
  browser.on("disconnected", ended);

  async function newPage(script, { report, log }) {
    const context = await browser.newContext();
    // The browser tells all of its addresses only to pages that may use the microphone.
    await context.grantPermissions(["microphone", "camera"], { origin });
    const page = await context.newPage();
    page.on("console", (message) => log(message.text()));
    page.on("pageerror", (error) => log(error.stack));
    await page.exposeFunction("report", report);
    // No server is needed for the page, only an origin that counts as secure.
    await page.route(`${origin}/*`, (route) => route.fulfill({ contentType: "text/html", body: html }));
    await page.goto(`${origin}/`);
    await page.addScriptTag({ content: script });
    return { evaluate: (expression) => page.evaluate(expression), close: () => context.close() };
  }

  return { newPage, close: () => browser.close() };
}
