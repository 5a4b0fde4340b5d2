/* From the policy's text to its document: YAML, then the tables, then the rules between keys. Pure. */
#include "base/err.h"
#include "node/policy/policy_impl.h"

#include <errno.h>
#include <string.h>

/* libyaml's scanner looks at every open bracket for every token: deep nesting would take it for ever. */
#define NESTING_MAX 50

static uint32_t too_deep(struct span text)
{
    uint32_t line = 1, depth = 0;
    bool comment = false;
    for (size_t i = 0; i < text.n; i++) {
        char ch = text.p[i];
        if (ch == '\n') {
            line++;
            comment = false;
        } else if (ch == '#') {
            comment = true;
        } else if (!comment && (ch == '[' || ch == '{')) {
            if (++depth > NESTING_MAX)
                return line;
        } else if (!comment && (ch == ']' || ch == '}') && depth > 0) {
            depth--;
        }
    }
    return 0;
}

static void yaml_fault(struct config_errors *errors, const char *name, const yaml_parser_t *p)
{
    const char *problem = p->problem != NULL ? p->problem : "unreadable";
    uint32_t line = (uint32_t)p->problem_mark.line + 1;
    if (p->error == YAML_READER_ERROR)
        config_errors_add(errors, name, 0, NULL, "not UTF-8 text: %s at byte %zu", problem,
                          p->problem_offset);
    else if (p->error == YAML_MEMORY_ERROR)
        config_errors_add(errors, name, 0, NULL, "out of memory");
    else if (strstr(problem, "cannot start any token") != NULL)
        config_errors_add(errors, name, line, NULL, "not valid YAML: %s (indent with blanks, not tabs)",
                          problem);
    else
        config_errors_add(errors, name, line, NULL, "not valid YAML: %s (check the indentation)", problem);
}

static int read_tree(struct schema_load *l, struct policy_doc *out)
{
    bool good = schema_read(l, &policy_map, out);
    if (good)
        policy_check(l, out);
    config_errors_sort(l->errors);
    if (l->errors->errors == 0)
        return 0;
    schema_fini(&policy_map, out);
    return ERR_BAD;
}

int policy_document_read(const char *name, struct span text, struct policy_doc *out,
                         struct config_errors *errors)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (text.n > POLICY_FILE_MAX) {
        config_errors_add(errors, name, 0, NULL, "is larger than %u bytes", POLICY_FILE_MAX);
        return ERR_BAD;
    }
    uint32_t deep = too_deep(text);
    if (deep != 0) {
        config_errors_add(errors, name, deep, NULL, "not valid YAML: more than %u brackets are open",
                          NESTING_MAX);
        return ERR_BAD;
    }
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    /* An empty buffer has no memory, which libyaml would abort for. */
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    int err = ERR_BAD;
    if (!yaml_parser_load(&parser, &doc)) {
        yaml_fault(errors, name, &parser);
    } else {
        if (yaml_document_get_root_node(&doc) == NULL) {
            config_errors_add(errors, name, 0, NULL, "is empty; docs/policy.md has an example");
        } else {
            struct schema_load l = { .file = name, .doc = &doc, .errors = errors };
            err = read_tree(&l, out);
        }
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return err;
}
