;; Declares 64 MiB from the start, more than any sandbox has room for.
;;@ memory 1024
