/** Which system this browser runs on. Systems differ in which key is Alt, which keys copy and which paste. */

const { userAgentData, platform } = (globalThis.navigator ?? {}) as Navigator & { userAgentData?: { platform?: string } };
const system = userAgentData?.platform || platform || "";

export const isMac = /^(mac|iphone|ipad|ios)/i.test(system);
export const isWindows = /^win/i.test(system);
