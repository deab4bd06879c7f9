/** A program of Ink's, as agents on the command line are: a spinner, a box and a line of text that is typed. Ends with the key `q` on an empty line. */
import { Box, Static, Text, render, useApp, useInput } from "ink";
import { createElement as h, useEffect, useState } from "react";

const FRAMES = [..."⠋⠙⠹⠸⠼⠴⠦⠧"];

/** How long a frame of the spinner stands, in milliseconds. */
const FRAME_MS = 40;

function Program() {
  const { exit } = useApp();
  const [frame, setFrame] = useState(0);
  const [{ text, said }, set] = useState({ text: "", said: /** @type {string[]} */ ([]) });
  useEffect(() => {
    const clock = setInterval(() => setFrame((before) => before + 1), FRAME_MS);
    return () => clearInterval(clock);
  }, []);
  useInput((input, key) => {
    if (key.return) set(({ text, said }) => ({ text: "", said: [...said, text] }));
    else if (input === "q" && text === "") exit();
    else set(({ text, said }) => ({ text: text + input, said }));
  });
  return h(
    Box,
    { flexDirection: "column" },
    h(Static, { items: said, children: (item, at) => h(Text, { key: at, color: "green" }, `› ${item} (${at + 1})`) }),
    h(Box, { borderStyle: "round", borderColor: "cyan", paddingX: 1 }, h(Text, null, "漢字かな 👩🏽‍🚀 cafe\u0301 ", h(Text, { bold: true, underline: true }, "wraps at the width of the window "), "and 🏳️‍🌈 goes on")),
    h(Text, null, h(Text, { color: "#ffa500" }, FRAMES[frame % FRAMES.length]), ` frame ${frame}`),
    h(Text, { inverse: true }, `> ${text}`),
  );
}

render(h(Program));
