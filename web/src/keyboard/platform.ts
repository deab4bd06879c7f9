/** Whose keyboard this is: what is Alt, what copies and what pastes differs by system. */

const { userAgentData, platform } = (globalThis.navigator ?? {}) as Navigator & { userAgentData?: { platform?: string } };
const system = userAgentData?.platform || platform || "";

export const isMac = /^(mac|iphone|ipad|ios)/i.test(system);
export const isWindows = /^win/i.test(system);
