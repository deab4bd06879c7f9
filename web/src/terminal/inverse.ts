/**
 * Mends reversed text in xterm.js 6.0 when it draws with text elements, as it does without WebGL. For text in the default colour it computes
 * the contrast with the foreground instead of the background, finds none, and makes the text grey. Reaches into the emulator, because its
 * public interface has no way to do this. A test compares the pixels of both renderers.
 */
import type { IBufferCell, Terminal as Xterm } from "@xterm/xterm";

/** The parts of the emulator's inside that are used. */
interface RowFactory {
  readonly _themeService: { readonly colors: { readonly foreground: object; readonly background: object } };
  _applyMinimumContrast(element: HTMLElement, background: object, foreground: object, cell: IBufferCell, ...overrides: unknown[]): boolean;
}
interface Inside {
  readonly _core?: { readonly _renderService?: { readonly _renderer?: { readonly value?: { readonly _rowFactory?: RowFactory } } } };
}

/** To be called after the terminal is opened and before another renderer is loaded. */
export function mendInverse(xterm: Xterm): void {
  const factory = (xterm as unknown as Inside)._core?._renderService?._renderer?.value?._rowFactory;
  if (factory === undefined) return;
  const prototype = Object.getPrototypeOf(factory) as RowFactory & { mended?: true };
  if (prototype.mended) return;
  prototype.mended = true;
  const apply = prototype._applyMinimumContrast;
  prototype._applyMinimumContrast = function (element, background, foreground, cell, ...overrides) {
    const { colors } = this._themeService;
    const meant = cell.isInverse() && foreground === colors.foreground ? colors.background : foreground;
    return apply.call(this, element, background, meant, cell, ...overrides);
  };
}
