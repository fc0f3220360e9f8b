// The keyboard: one key, one action. Typing in a field, and keys with modifiers, are left alone.

const TYPING = "input:not([type=range]), textarea, select, [contenteditable]";
const PRESSABLE = "button, a, summary, input";

// actions: { "/": f, a: f, ..., Escape: f }; an action returns nothing
export function createKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const action = actions[event.key];
    if (!action) return;
    if (document.querySelector("dialog[open]")) return; // a dialog has its own keys
    if (event.key !== "Escape" && event.target.closest(TYPING)) return;
    if ((event.key === " " || event.key === "Enter") && event.target.closest(PRESSABLE)) return;
    event.preventDefault();
    action();
  });
}
