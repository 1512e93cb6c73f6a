;; Declares that it writes `/kind`, which no policy may.
;;@ writes /metadata/labels /kind
