// Validates configs against the JSON Schema that `campanile config --schema` prints, with ajv.
//
// usage: node schema.mjs FILE
//   FILE  JSON: the schema, and the configs that it must accept and reject

import { readFileSync } from "node:fs";
import Ajv from "ajv";

const { schema, valid, invalid } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ajv = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allErrors: true });
const validate = ajv.compile(schema);

for (const [text, config] of valid) {
    if (!validate(config)) throw new Error(`${text}\n${ajv.errorsText(validate.errors)}`);
}
for (const [text, config] of invalid) {
    if (validate(config)) throw new Error(`accepted: ${text}`);
}
console.log("done");
