// Builds the page into dist/, which the host embeds. Every asset is a hashed file under dist/assets, so that the host can let browsers
// cache those for ever and only index.html is asked for again. Nothing is inlined: the page runs under a strict Content-Security-Policy.
import { defineConfig } from "vitest/config";

const broker = process.env["BROKER_URL"] ?? "http://127.0.0.1:3000";

export default defineConfig({
  base: "./",
  build: {
    // The oldest browsers with light-dark(), the popover attribute and String.prototype.toWellFormed.
    target: ["chrome123", "firefox125", "safari17.5"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // One script on purpose: every part of it is needed for the first screen. xterm.js with WebGL alone is about 500 kB.
    chunkSizeWarningLimit: 1000,
  },
  // `npm run dev` serves the page with hot reload and passes everything else to a running broker.
  server: {
    proxy: {
      "/terminal": { target: broker, ws: true, changeOrigin: true },
      "/api": { target: broker, changeOrigin: true },
      "/sign-in": { target: broker, changeOrigin: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});
