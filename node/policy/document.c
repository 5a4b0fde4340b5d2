/* From the policy's text to its document: YAML, then the tables, then the rules between keys. Pure. */
#include "node/config/document.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/policy/policy_impl.h"

static int read_tree(struct schema_load *l, struct policy_doc *out)
{
    bool good = schema_read(l, &policy_map, out);
    if (good)
        policy_check(l, out);
    config_errors_sort(l->errors);
    if (l->errors->errors == 0) {
        policy_document_level(l, out);
        return 0;
    }
    schema_fini(&policy_map, out);
    return ERR_BAD;
}

static const struct config_document_kind kind = { .max_bytes = POLICY_FILE_MAX,
                                                  .max_nesting = 50,
                                                  .page = "docs/policy.md" };

/* Ours: a fault in it would be found by every test. */
void policy_builtin_read(const char *name, struct span text, const struct schema_map *map, void *out)
{
    struct config_errors errors;
    yaml_document_t doc;
    config_errors_init(&errors);
    int err = config_document_open(&kind, name, text, &doc, &errors);
    ensure(err == 0);
    struct schema_load l = { .file = name, .doc = &doc, .errors = &errors };
    bool good = schema_read(&l, map, out);
    ensure(good);
    yaml_document_delete(&doc);
    config_errors_fini(&errors);
}

int policy_document_read(const char *name, struct span text, struct policy_doc *out,
                         struct config_errors *errors)
{
    yaml_document_t doc;
    int err = config_document_open(&kind, name, text, &doc, errors);
    if (err != 0)
        return err;
    struct schema_load l = { .file = name, .doc = &doc, .errors = errors };
    err = read_tree(&l, out);
    yaml_document_delete(&doc);
    return err;
}
