/* What opening and going back need of repair. */
#ifndef FS_REPAIR_H
#define FS_REPAIR_H

struct fs;

/* Forgets all that the system tree and the pending records said: an empty system tree of the open transaction, everything free. */
int repair_without_space(struct fs *fs);

#endif
