// Copies the secret. Without this script the field is selected and copied by hand.
const field = document.getElementById("raw"), button = document.getElementById("copy"), said = document.getElementById("copied");
button.hidden = false;
field.addEventListener("focus", () => field.select());
button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(field.value);
    said.textContent = "Copied.";
  } catch {
    field.focus();
    said.textContent = "Your browser does not let this page copy. The secret is selected: hold it and choose Copy, or press Ctrl+C (⌘C).";
  }
});
