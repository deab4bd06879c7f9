/**
 * Drives vttest through its menus, as a person does: picks each entry, and presses RETURN as often as it asks. Knows the program's texts, and
 * no emulator.
 */

/** Entries that are left out, by name. */
const LEFT_OUT = new RegExp(
  [
    "Exit",
    // Needs a keyboard, a mouse or a printer.
    "keyboard(?! status)|mouse|printer|locator|User-Defined Keys",
    // Ends in a menu that is its own entry.
    "Modify test-parameters|Tektronix",
    // Wait many seconds for what takes an emulator no time.
    "DECTST|\\(RIS\\)",
    // Reads for ever, as the page's emulator answers nothing.
    "AnswerBack|UDK|Keyboard Status|Printer Status|Presentation State|Terminal State|DECAUPSS|DECRPDE",
  ].join("|"),
  "i",
);

/** What the program asks while it waits for somebody, and what it is answered. The last that it printed counts. */
const QUESTIONS = [
  { asks: /Enter choice number \(\d+ - \d+\): /g, answer: undefined },
  { asks: /Push <RETURN>/g, answer: "\r" },
  { asks: /Push the RETURN key: /g, answer: "\r" },
  { asks: /response to IDENTIFY command/g, answer: "\r" },
  { asks: /Enter 0 to exit/g, answer: "0\r" },
  { asks: /Press any keys, repeat to quit/g, answer: "aa" },
  { asks: /Press 'q' to quit/g, answer: "q" },
  { asks: /Please enter the new window name/g, answer: "vttest's title\r" },
];

/** Screens of one entry at most; the longest has fewer. */
const MAX_SCREENS = 100;

/**
 * @typedef {object} Person
 * @property {(from: number) => string} printed What was printed from an offset on.
 * @property {() => number} total How much was printed.
 * @property {(what: string, holds: () => boolean) => Promise<unknown>} until
 * @property {() => Promise<string>} screen
 * @property {(keys: string) => void} type
 * @property {(where: string) => Promise<void>} look Called at each screen.
 */

/**
 * Plays entries of the main menu, and of the menus below.
 * @param {Person} person
 * @param {(path: string[]) => boolean} wanted Whether an entry is played.
 */
export async function play(person, wanted) {
  let from = 0;

  /**
   * Looks at each screen until there is a menu. Returns that.
   * @param {string} where
   */
  const untilMenu = async (where) => {
    for (let screens = 0; screens <= MAX_SCREENS; screens++) {
      /** @type {{ at: number, answer: string | undefined } | undefined} */
      let last;
      await person.until(`a question of vttest's after ${where}, screen ${screens}`, () => {
        const printed = person.printed(from);
        const found = QUESTIONS.flatMap(({ asks, answer }) => [...printed.matchAll(asks)].map(({ index }) => ({ at: index, answer })));
        last = found.sort((one, other) => one.at - other.at).at(-1);
        return last !== undefined;
      });
      const { answer } = /** @type {{ at: number, answer: string | undefined }} */ (/** @type {unknown} */ (last));
      if (answer === undefined) return await person.screen();
      await person.look(`${where}, screen ${screens + 1}`);
      from = person.total();
      person.type(answer);
    }
    throw new Error(`${where} shows more than ${MAX_SCREENS} screens`);
  };

  /** @param {string} text */
  const heading = (text) => /Menu [\d.]+: |known bugs in/.exec(text)?.[0];

  /**
   * @param {string[]} path
   * @param {string} menu
   */
  const playMenu = async (path, menu) => {
    for (const [, number, name] of menu.matchAll(/^\s+(\d+)\. (\S.*?)\s*$/gm)) {
      if (number === undefined || name === undefined || LEFT_OUT.test(name) || !wanted([...path, name])) continue;
      const below = [...path, name];
      from = person.total();
      person.type(`${number}\r`);
      const next = await untilMenu(below.join(" / "));
      if (heading(next) === heading(menu)) continue;
      await playMenu(below, next);
      from = person.total();
      person.type("0\r");
      await untilMenu(`out of ${below.join(" / ")}`);
    }
  };

  await playMenu([], await untilMenu("the start"));
}
