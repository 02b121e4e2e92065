"""Data sets and transforms that stock lacks, and toy scenes that stand in for COCO, ADE20K, NYU and ImageNet."""
