/* Images by what is typed, in lists of test and of training images. */
/* What can be found by typing it. */
const FINDABLE = ({ file }) => file.length ? "class, id or file" : "class or id";

/* Whether all words typed are in an image's id, file or the names of its classes; numbers as whole numbers, so that 1 does not find 10. */
function finder(typed) {
  const words = (typed ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const tests = words.map((word) => /^\d+$/.test(word) ? RegExp(`(?<!\\d)0*${word}(?!\\d)`) : { test: (text) => text.includes(word) });
  return (id, file, labels) => {
    const text = [id, file ?? "", ...labels.map(className)].join("\n").toLowerCase();
    return tests.every((found) => found.test(text));
  };
}
