/* What the directory's records have in common: a place in store and index, texts, and what a name may be. */
#include "base/ensure.h"
#include "base/text.h"
#include "consensus/directory_impl.h"
#include "consensus/web_sender.h"

#include <errno.h>
#include <stdlib.h>

#define TEXT_MAX (64u << 10) /* longer than any text of a command */

int directory_add(struct machine *m, struct directory_index *ix, struct store_rec *rec)
{
    int err = store_add(m->store, ix->type, rec);
    if (err != 0)
        return err;
    /* Without memory for the index the apply fails as a whole; the record is the store's already. */
    ensure(directory_index_add(ix, rec) == 0);
    return 0;
}

void directory_drop(struct machine *m, struct directory_index *ix, struct store_rec *rec)
{
    directory_index_remove(ix, rec);
    store_remove(m->store, rec);
}

int directory_text_set(struct span *text, struct span value)
{
    char *p = NULL;
    if (value.n != 0) {
        p = malloc(value.n);
        if (p == NULL)
            return -ENOMEM;
        memcpy(p, value.p, value.n);
    }
    directory_text_free(text);
    *text = span_of(p, value.n);
    return 0;
}

void directory_text_free(struct span *text)
{
    free((void *)text->p);
    *text = (struct span){ 0 };
}

int directory_texts_decode(struct cursor *c, struct span *const texts[])
{
    for (; *texts != NULL; texts++) {
        struct span s = cursor_counted(c);
        if (cursor_err(c))
            return cursor_err(c);
        if (s.n > TEXT_MAX)
            return ERR_CORRUPT;
        int err = directory_text_set(*texts, s);
        if (err != 0)
            return err;
    }
    return 0;
}

int directory_texts_copy(struct span *const texts[], const struct span values[])
{
    for (size_t i = 0; texts[i] != NULL; i++) {
        int err = directory_text_set(texts[i], values[i]);
        if (err != 0)
            return err;
    }
    return 0;
}

void directory_texts_free(struct span *const texts[])
{
    for (; *texts != NULL; texts++)
        directory_text_free(*texts);
}

bool directory_text_ok(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return false;
    return text_utf8_valid(text);
}

bool directory_name_ok(struct span name)
{
    return name.n != 0 && name.n <= COMMAND_NAME_MAX && memchr(name.p, ' ', name.n) == NULL &&
           directory_text_ok(name);
}

bool directory_account_name_ok(struct span name)
{
    if (!directory_name_ok(name))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (strchr(":\",\\", name.p[i]) != NULL || (name.p[i] >= 'A' && name.p[i] <= 'Z'))
            return false;
    return true;
}

bool directory_sender_name_ok(const struct machine *m, struct span name)
{
    return directory_account_name_ok(name) ||
           (directory_features(m) >= WEB_SENDER_FEATURE && web_sender_ok(name) &&
            directory_account_name_ok(web_sender_host(name)));
}
