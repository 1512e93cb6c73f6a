;; Declares 18.75 MiB from the start.
;;@ memory 300
