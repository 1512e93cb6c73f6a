;; Declares an initial memory of 18.75 MiB.
;;@ memory 300
