;; Declares an initial memory of 64 MiB, more than a sandbox has.
;;@ memory 1024
