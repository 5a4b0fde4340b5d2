/* Opening YAML: all that comes before the first key. */
#include "node/config/document.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES 65536

/* What a newcomer to YAML most likely did. */
static const char *yaml_hint(const char *problem)
{
    if (strstr(problem, "cannot start any token") != NULL)
        return " (indent with blanks, not tabs; quote text that begins with @, %, ` or *)";
    if (strstr(problem, "mapping values are not allowed") != NULL)
        return " (quote text that contains \": \"; check the indentation)";
    if (strstr(problem, "did not find expected key") != NULL ||
        strstr(problem, "could not find expected ':'") != NULL ||
        strstr(problem, "did not find expected '-' indicator") != NULL)
        return " (check the indentation and that each key ends with \":\")";
    if (strstr(problem, "alphabetic or numeric") != NULL)
        return " (quote text that begins with * or &)";
    return "";
}

static void yaml_fault(struct config_errors *errors, const char *name, const yaml_parser_t *p)
{
    const char *problem = p->problem != NULL ? p->problem : "unreadable";
    if (p->error == YAML_READER_ERROR)
        config_errors_add(errors, name, 0, NULL, "not UTF-8 text: %s at byte %zu", problem,
                          p->problem_offset);
    else if (p->error == YAML_MEMORY_ERROR)
        config_errors_add(errors, name, 0, NULL, "out of memory");
    else
        config_errors_add(errors, name, (uint32_t)p->problem_mark.line + 1, NULL, "not valid YAML: %s%s",
                          problem, yaml_hint(problem));
}

/* The line on which too many brackets are open, or 0. libyaml's scanner looks at every open bracket for every
 * token: deep nesting would take it for ever. No valid file comes near the limit, so it does not matter that
 * brackets in quotes count. */
static uint32_t too_deep(struct span text, uint32_t max_nesting)
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
            if (++depth > max_nesting)
                return line;
        } else if (!comment && (ch == ']' || ch == '}') && depth > 0) {
            depth--;
        }
    }
    return 0;
}

int config_document_open(const struct config_document_kind *kind, const char *name, struct span text,
                         yaml_document_t *out, struct config_errors *errors)
{
    yaml_parser_t parser;
    if (text.n > kind->max_bytes) {
        config_errors_add(errors, name, 0, NULL, "is larger than %u bytes", kind->max_bytes);
        return ERR_BAD;
    }
    uint32_t deep = too_deep(text, kind->max_nesting);
    if (deep != 0) {
        config_errors_add(errors, name, deep, NULL, "not valid YAML: more than %u brackets are open",
                          kind->max_nesting);
        return ERR_BAD;
    }
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    /* An empty buffer has no memory, which libyaml would abort for. */
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    int err = 0;
    if (!yaml_parser_load(&parser, out)) {
        yaml_fault(errors, name, &parser);
        err = ERR_BAD;
    } else if (yaml_document_get_root_node(out) == NULL) {
        config_errors_add(errors, name, 0, NULL, "is empty; %s has an example", kind->page);
        yaml_document_delete(out);
        err = ERR_BAD;
    }
    yaml_parser_delete(&parser);
    return err;
}

static int read_all(int fd, uint32_t max_bytes, struct buf *b)
{
    while (b->len <= max_bytes) {
        int err = buf_reserve(b, PIECE_BYTES);
        if (err != 0)
            return err;
        ssize_t n = read(fd, b->data + b->len, PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        b->len += (size_t)n;
    }
    return 0;
}

int config_file_read(const char *path, uint32_t max_bytes, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = read_all(fd, max_bytes, out);
    close(fd);
    return err;
}
